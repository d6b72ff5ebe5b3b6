"""The gradient of a multi-layer transformer, with any differentiable attention method in any layer,
and the bound on its error.

G_m = dout, and from the last layer to the first (Liang et al. 2024, section 4, corrected: see
`lss24.gradient`)

    dZ = (dg_i/dZ)^T G_i,   du = the gradient of Attn_i for dZ (`self_attention.py`),
    G_{i-1} = (dnorm/dx)^T du [+ dZ],

so G_i = dL/dT_i. What is linear in n stays so: an activation is kept for every layer, or only T_i
with `recompute=True`; no n x n array is formed unless the method does.

Error. `total` of layer i bounds sum_j |row j of G_i - row j of the exact dL/dT_i|, Euclidean norms.

1. It is 0 at the output.
2. A map multiplies it by its Lipschitz constant at the computed point.
3. To that is added the Lipschitz constant of the map's Jacobian times the forward error delta times
   |G_i|, and rounding.

Every map has its rule: the backward companions of T4, proved in `attention_gradient_error.py`,
`mlp.py`, `norm.py`. So an activation must have a Lipschitz derivative. And what is small after m
layers is the error of one layer times a product over all of them: no error is free of m, the
statement of Theorem 4.2 of the paper notwithstanding.

Where a gradient is NaN or infinite its bound is inf.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_flag
from approxattn._arrays import Array, HostArray
from approxattn._arrays.entry import public
from approxattn._problem import quietly
from approxattn.certificate import SOFTMAX, SOFTMAX_GRADIENT, GradientCertificate
from approxattn.methods.protocol import Method
from approxattn.transformer.affine import where_all_finite
from approxattn.transformer.forward import (
    LayerRun,
    Plan,
    Start,
    begin,
    failure_of,
    layer_errors,
    located,
    methods_of,
    seeds_of,
)
from approxattn.transformer.layer_gradient import LayerAt, pull_layer
from approxattn.transformer.loss import loss_bound
from approxattn.transformer.model import Layer, Transformer
from approxattn.transformer.padding import shown
from approxattn.transformer.parameters import parameters
from approxattn.transformer.reasons import Place, is_finite, reasons, unmet
from approxattn.transformer.results import LayerErrors, ModelCertificate, ModelGradients
from approxattn.transformer.token_map import pull, pull_errors


@public()
@quietly
def gradient(
    model: Transformer,
    x: Array,
    dout: Array | Callable[[Array], Array],
    method: Method | Sequence[Method],
    *,
    key_mask: Array | None = None,
    segments: Array | None = None,
    rng: np.random.Generator | None = None,
    certify: bool = True,
    recompute: bool = False,
    second_moments: bool = False,
) -> ModelGradients:
    """Compute the gradient of a transformer with approximate attention, and bound its distance to
    the exact one.

    Parameters
    ----------
    model, x, method, key_mask, segments, rng, certify, second_moments
        As for `forward`; the method of every layer must have a gradient.
    dout : array, shape (..., n, d'), or callable
        dL/dT_m, the gradient of the loss with respect to the output, or a function that returns it
        for the output T_m. It counts as exact: what is certified is the gradient of the linear loss
        <dout, F(X)>. Its rows of masked tokens are not read.
    recompute : bool
        Keep only T_0, ..., T_m and run every layer a second time on the way back: less memory, one
        more forward pass.

    Returns
    -------
    ModelGradients
        dL/dX, dL/dT_i, dL/d(parameter) for every parameter, summed over leading axes, and the
        certificate.

    Raises
    ------
    TypeError, ValueError
        As `forward`; a dout that is not of the output's shape and dtype; a method without a
        gradient.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> from approxattn.transformer import Layer, SelfAttention, Transformer, gradient
    >>> w = lambda *shape: np.random.default_rng(0).standard_normal(shape) / 4
    >>> attention = SelfAttention(w=w(1, 4, 4), wv=w(1, 4, 4), scale=1 / 4)
    >>> model = Transformer(layers=(Layer(attention=attention, residual=True),) * 3)
    >>> x, g = np.random.default_rng(1).uniform(-1, 1, (2, 60, 4))
    >>> grads = gradient(model, x, g, aa.Polynomial(degree=8, gradient="plug-in"))
    >>> exact = gradient(model, x, g, aa.Exact())
    >>> error = np.sum(np.linalg.norm(grads.dx - exact.dx, axis=-1))
    >>> bool(error <= grads.certificate.dx + exact.certificate.dx)
    True
    """
    flags = {"certify": certify, "recompute": recompute, "second_moments": second_moments}
    for name, flag in flags.items():
        check_flag(name, flag)
    start = begin(model, x, key_mask, segments, certify=certify)
    methods, seeds = methods_of(model, method), seeds_of(model, method, rng)
    plan = Plan(methods, seeds, start.sight, certify and second_moments)
    ahead = _forward_pass(model, start, plan, keep=not recompute)
    value = ahead.tokens[-1]
    at_end = _checked(dout(value) if callable(dout) else dout, value, start.sight.mask)
    back = _backward_pass(model, ahead, at_end, plan)
    end = pull(model.first, start.run.inputs, back.cotangents[0])
    integers = not _arrays.namespace(x=x).isdtype(x.dtype, "real floating")
    gradients = replace(model, first=end.gradients, layers=back.gradients)
    certificate = None
    if certify:
        total = back.totals[0]
        head = pull_errors(model.first, start.run, start.deltas[0], end.cotangents, total)
        to_input = []
        if not integers:
            to_input.append(Place("dL/dX", end.dx, where_all_finite(head.total, end.dx)))
        loss = loss_bound(back.cotangents, back.totals, [start.deltas[-1], *back.own])
        certificate = _certificate(ahead, back, head.parameters, parameters(gradients), to_input)
        certificate = replace(certificate, loss=loss)
    return ModelGradients(
        model=gradients,
        dx=None if integers else end.dx,
        tokens=back.cotangents,
        value=value,
        certificate=certificate,
        layers=ahead.errors,
        methods=methods,
    )


class _Ahead(NamedTuple):
    """T_0, ..., T_m, what each layer's gradient needs (None: to be made again), and the bounds if
    there are any.
    """

    tokens: list[Array]
    runs: list[LayerRun | None]
    errors: tuple[LayerErrors, ...]


def _forward_pass(model: Transformer, start: Start, plan: Plan, *, keep: bool) -> _Ahead:
    tokens: list[Array] = [start.value]
    runs: list[LayerRun | None] = []
    errors: list[LayerErrors] = []
    for i, layer in enumerate(model.layers):
        run = plan.run(i, layer, tokens[-1])
        if start.deltas:
            delta = errors[-1].out if errors else start.deltas[-1]
            errors.append(layer_errors(layer, run, delta, plan.sight))
        tokens.append(shown(run.then.value, plan.sight.mask))
        runs.append(run if keep else None)
        del run  # the next layer runs without it, unless it is kept
    return _Ahead(tokens, runs, tuple(errors))


class _Back(NamedTuple):
    """What the way back through the layers leaves behind, first layer first: G_0, ..., G_m with
    their bounds, and each layer's gradient, bounds on it, method's certificate, own error.
    """

    cotangents: tuple[Array, ...]
    totals: tuple[HostArray, ...]
    gradients: tuple[Layer, ...]
    parameters: dict[str, float]
    certificates: tuple[GradientCertificate, ...]
    own: tuple[HostArray, ...]


def _backward_pass(model: Transformer, ahead: _Ahead, dout: Array, plan: Plan) -> _Back:
    """Go back through the layers.

    The runs are emptied on the way: what a layer kept is let go once its gradient is known.
    """
    cotangents, totals, gradients = [dout], [np.zeros(dout.shape[:-2])], []
    bounds: dict[str, float] = {}
    certificates, own = [], []
    for i in reversed(range(len(model.layers))):
        layer = model.layers[i]
        run = ahead.runs.pop() or plan.run(i, layer, ahead.tokens[i])
        errors = ahead.errors[i] if ahead.errors else None
        with located(i):
            step = pull_layer(LayerAt(layer, run, errors, plan, i), cotangents[-1], totals[-1])
        cotangents.append(step.dx)
        gradients.append(step.gradient)
        if step.error is not None:
            certificates.append(step.certificate)
            own.append(layer_errors(layer, run, np.zeros(run.x.shape[:-1]), plan.sight).out)
            totals.append(where_all_finite(step.error.total, step.dx))
            bounds |= {f"layers.{i}.{name}": b for name, b in step.error.parameters.items()}
    return _Back(
        cotangents=tuple(reversed(cotangents)),
        totals=tuple(reversed(totals)),
        gradients=tuple(reversed(gradients)),
        parameters=bounds,
        certificates=tuple(reversed(certificates)),
        own=tuple(reversed(own)),
    )


def _certificate(
    ahead: _Ahead,
    back: _Back,
    first: Mapping[str, float],
    gradients: Mapping[str, Array],
    to_input: Sequence[Place],
) -> ModelCertificate:
    """Return the bounds on all gradients; that of a parameter whose gradient is not finite is inf.

    `to_input` holds dL/dX, if there is one.
    """
    bounds = back.parameters | {f"first.{name}": b for name, b in first.items()}
    lost = [name for name in bounds if not is_finite(gradients[name])]
    failure = sum(
        failure_of(e.certificate.failure + c.failure, c.dq.shape[-2])
        for e, c in zip(ahead.errors, back.certificates, strict=True)
    )
    of_methods = [r for e in ahead.errors for r in unmet(e.certificate, SOFTMAX)]
    of_methods += [r for c in back.certificates for r in unmet(c, SOFTMAX_GRADIENT)]
    if lost:
        of_methods.append(f"the gradients of {', '.join(lost)} are NaN or infinite")
    pairs = enumerate(zip(back.cotangents, back.totals, strict=True))
    places = [Place(f"dL/dT_{i}", g, total) for i, (g, total) in reversed(list(pairs))]
    return ModelCertificate(
        tokens=back.totals,
        dx=to_input[0].bound if to_input else None,
        parameters=bounds | dict.fromkeys(lost, np.inf),
        failure=min(1.0, failure),
        unmet=reasons(of_methods, [*places, *to_input]),
    )


def _checked(dout: Array, value: Array, mask: Array | None) -> Array:
    """Return dout with 0 for masked tokens, or say what is wrong with it."""
    xp = _arrays.namespace(dout=dout, value=value)
    if tuple(dout.shape) != tuple(value.shape) or dout.dtype != value.dtype:
        msg = (
            f"dout has shape {tuple(dout.shape)} and dtype {dout.dtype}: it must have those of the "
            f"output, {tuple(value.shape)} and {value.dtype}"
        )
        raise ValueError(msg)
    dout = shown(dout, mask)
    if not bool(xp.all(xp.isfinite(dout))):
        msg = "dout holds NaN or infinity: give the gradient of a finite loss"
        raise ValueError(msg)
    return dout
