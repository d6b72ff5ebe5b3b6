"""The gradient of a multi-layer transformer, with any differentiable attention method in any layer,
and the bound on its error.

G_m = dout, and from the last layer to the first (Liang et al. 2024, section 4, corrected: see
`lss24.gradient`)

    dZ = (dg_i/dZ)^T G_i,   du = the gradient of Attn_i for dZ (`self_attention.py`),   G_{i-1} =
        (dnorm/dx)^T du [+ dZ],

so G_i = dL/dT_i. What is linear in n stays so: an activation is kept for every layer, or only T_i
with `recompute=True`; no n x n array is formed unless the method does.

Error. `total` of layer i bounds sum_j |row j of G_i - row j of the exact dL/dT_i|, Euclidean norms;
it grows from 0 at the output. Every map has its rule (backward companion of T4, proved in
`attention_error.py`, `mlp.py`, `norm.py`): the Lipschitz constant at the computed point times
`total`, plus the Lipschitz constant of the Jacobian times the forward error delta times |G_i|, plus
rounding. So the activation must have a Lipschitz derivative, and what is small after m layers is
the error of one layer times a product over all of them: no error is free of m, the statement of
Theorem 4.2 of the paper notwithstanding.

Loss (proved here; the dual weighted residuals of Becker & Rannacher 2001, wording unverified, with
the remainder bounded). Let Phi_l be the exact layers after layer l, and eps_l the distance, row by
row, of the computed T_l to what exact attention makes of the computed T_{l-1}: one layer's own
error, with nothing carried in. Then

    <dout, exact T_m - T_m> = sum over l of <dout, Phi_l(T_l + eps_l) - Phi_l(T_l)> = sum over l of
        the mean over t in [0, 1] of <grad of <dout, Phi_l> at T_l + t eps_l, eps_l>

by telescoping. That gradient differs from the computed G_l by at most `total` of layer l in sum,
because T_l + t eps_l is no farther from T_l than delta_l, and `total` holds for every point that
near. So the loss is off by at most sum_l [ sum_i |G_l,i| eps_l,i + total_l max_i eps_l,i ]: what
matters of each layer's error is weighed by the gradient that was measured; products of Lipschitz
constants enter the second term only, which is of second order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.certificate import SOFTMAX_GRADIENT, GradientCertificate
from approxattn.methods.protocol import Method
from approxattn.transformer.affine import bounded, norms, roundoff
from approxattn.transformer.attention_error import pulled_errors
from approxattn.transformer.forward import (
    LayerRun,
    check_input,
    failure_of,
    first_errors,
    generator,
    layer_errors,
    located,
    methods_of,
    run_layer,
    seeds_of,
    unmet,
)
from approxattn.transformer.model import Layer, Transformer
from approxattn.transformer.results import LayerErrors, ModelCertificate, ModelGradients
from approxattn.transformer.token_map import PulledError, pull, pull_errors, trace


class _Step(NamedTuple):
    """Gradient of one layer: to its input, to its parameters, with its error."""

    dx: Array
    gradient: Layer
    error: PulledError | None
    certificate: GradientCertificate


def gradient(
    model: Transformer,
    x: Array,
    dout: Array | Callable[[Array], Array],
    method: Method | Sequence[Method],
    *,
    key_mask: Array | None = None,
    rng: np.random.Generator | None = None,
    certify: bool = True,
    recompute: bool = False,
    second_moments: bool = False,
) -> ModelGradients:
    """Compute the gradient of a transformer with approximate attention, and bound its distance to
    the exact one.

    Parameters
    ----------
    model, x, method, key_mask, rng, certify, second_moments
        As for `forward`; the method of every layer must have a gradient.
    dout : array, shape (..., n, d'), or callable
        dL/dT_m, the gradient of the loss with respect to the output, or a function that returns it
        for the output T_m. It counts as exact: what is certified is the gradient of the linear loss
        <dout, F(X)>.
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
    methods, seeds = methods_of(model, method), seeds_of(model, method, rng)
    # a bound that overflows is inf
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        start = trace(model.first, check_input(model, x))
        deltas = first_errors(model, x, start) if certify else []
        plan = _Plan(methods, seeds, key_mask, recompute, certify and second_moments)
        tokens, runs, errors = _there(model, start.value, deltas, plan)
        at_end = _checked(dout(tokens[-1]) if callable(dout) else dout, tokens[-1])
        back = _back(model, tokens, runs, errors, at_end, plan)
        end = pull(model.first, start.inputs, back.cotangents[0])
        head = (
            pull_errors(model.first, start.inputs, deltas[0], end.cotangents, back.totals[0])
            if certify
            else None
        )
        loss = _loss_bound(back, [deltas[-1], *back.own]) if certify else None
    integers = not _arrays.namespace(x=x).isdtype(x.dtype, "real floating")
    certificate = (
        None if head is None else replace(_certificate(back, head, errors, integers), loss=loss)
    )
    return ModelGradients(
        model=replace(model, first=end.gradients, layers=back.gradients),
        dx=None if integers else end.dx,
        tokens=back.cotangents,
        value=tokens[-1],
        certificate=certificate,
        layers=tuple(errors),
        methods=methods,
    )


class _Plan(NamedTuple):
    """How the layers are run."""

    methods: Sequence[Method]
    seeds: Sequence[int | None]
    key_mask: Array | None
    recompute: bool
    second_moments: bool

    def run(self, i: int, layer: Layer, x: Array) -> LayerRun:
        return run_layer(
            layer, x, self.methods[i], self.key_mask, self.seeds[i], self.second_moments
        )


def _there(
    model: Transformer, x: Array, deltas: Sequence[HostArray], plan: _Plan
) -> tuple[list[Array], list[LayerRun | None], list[LayerErrors]]:
    """Return T_0, ..., T_m, what each layer's gradient needs unless that is made again, and the
    bounds if there are any at the start.
    """
    tokens: list[Array] = [x]
    runs: list[LayerRun | None] = []
    errors: list[LayerErrors] = []
    for i, layer in enumerate(model.layers):
        with located(i):
            run = plan.run(i, layer, tokens[-1])
        if deltas:
            errors.append(
                layer_errors(layer, run, errors[-1].out if errors else deltas[-1], plan.key_mask)
            )
        tokens.append(run.then.value)
        runs.append(None if plan.recompute else run)
    return tokens, runs, errors


class _Back(NamedTuple):
    """What the way back through the layers leaves behind, first layer first."""

    cotangents: tuple[Array, ...]
    totals: tuple[HostArray, ...]
    gradients: tuple[Layer, ...]
    parameters: dict[str, float]
    certificates: tuple[GradientCertificate, ...]
    own: tuple[HostArray, ...]


def _back(
    model: Transformer,
    tokens: Sequence[Array],
    runs: list[LayerRun | None],
    errors: Sequence[LayerErrors],
    dout: Array,
    plan: _Plan,
) -> _Back:
    """Go back through the layers.

    `runs` is emptied on the way: what a layer kept is let go once its gradient is known.
    """
    cotangents, totals, gradients = [dout], [np.zeros(dout.shape[:-2])], []
    parameters: dict[str, float] = {}
    certificates, own = [], []
    for i in reversed(range(len(model.layers))):
        layer = model.layers[i]
        run = runs.pop() or plan.run(i, layer, tokens[i])
        known = errors[i] if errors else None
        with located(i):
            step = _pull_layer(layer, run, cotangents[-1], plan, i, known, totals[-1])
        cotangents.append(step.dx)
        gradients.append(step.gradient)
        if step.error is not None:
            certificates.append(step.certificate)
            own.append(layer_errors(layer, run, np.zeros(run.x.shape[:-1]), plan.key_mask).out)
            totals.append(step.error.total)
            parameters |= {
                f"layers.{i}.{name}": bound for name, bound in step.error.parameters.items()
            }
    return _Back(
        cotangents=tuple(reversed(cotangents)),
        totals=tuple(reversed(totals)),
        gradients=tuple(reversed(gradients)),
        parameters=parameters,
        certificates=tuple(reversed(certificates)),
        own=tuple(reversed(own)),
    )


def _pull_layer(
    layer: Layer,
    run: LayerRun,
    dout: Array,
    plan: _Plan,
    i: int,
    errors: LayerErrors | None,
    total: HostArray,
) -> _Step:
    then = pull(layer.then, run.then.inputs, dout)
    attention = layer.attention.vjp(
        run.u, run.heads, then.dx, plan.methods[i], plan.key_mask, generator(plan.seeds[i])
    )
    gradient = replace(layer, attention=attention.gradient, then=then.gradients)
    dx = attention.du
    if layer.norm is not None:
        dx, norm = layer.norm.vjp(run.x, dx)
        gradient = replace(gradient, norm=norm)
    dx = dx + then.dx if layer.residual else dx
    certificate = attention.heads.certificate
    if errors is None:
        return _Step(dx, gradient, None, certificate)
    after = pull_errors(layer.then, run.then.inputs, errors.z, then.cotangents, total)
    inside = pulled_errors(
        layer.attention,
        run.u,
        run.heads,
        errors.attention,
        errors.u,
        attention,
        then.dx,
        after.total,
    )
    return _Step(
        dx, gradient, _layer_error(layer, run, errors, attention.du, dx, after, inside), certificate
    )


def _layer_error(
    layer: Layer,
    run: LayerRun,
    errors: LayerErrors,
    du: Array,
    dx: Array,
    after: PulledError,
    inside: PulledError,
) -> PulledError:
    """Put the bounds of one layer together."""
    parameters = {f"attention.{name}": b for name, b in inside.parameters.items()}
    parameters |= {f"then.{name}": b for name, b in after.parameters.items()}
    total = inside.total
    if layer.norm is not None:
        norm = layer.norm.vjp_error(run.x, errors.x, du, total)
        total = norm.total
        parameters |= {f"norm.{name}": b for name, b in norm.parameters.items()}
    if layer.residual:
        xp = _arrays.namespace(dx=dx)
        total = bounded(total + after.total + roundoff(dx) * np.sum(norms(dx, xp), axis=-1))
    return PulledError(total, parameters)


def _certificate(
    back: _Back, head: PulledError, errors: Sequence[LayerErrors], integers: bool
) -> ModelCertificate:
    parameters = back.parameters | {
        f"first.{name}": bound for name, bound in head.parameters.items()
    }
    failure = sum(
        failure_of(e.certificate.failure + c.failure, c.dq.shape[-2])
        for e, c in zip(errors, back.certificates, strict=True)
    )
    reasons = [r for e in errors for r in unmet(e.certificate)] + [
        r for c in back.certificates for r in _unmet(c)
    ]
    return ModelCertificate(
        tokens=back.totals,
        dx=None if integers else head.total,
        parameters=parameters,
        failure=min(1.0, failure),
        unmet=tuple(dict.fromkeys(reasons)),
    )


def _loss_bound(back: _Back, own: Sequence[HostArray]) -> HostArray:
    """Return the bound on the error of <dout, T_m>, shape (...), from each layer's own error,
    shapes (..., n).
    """
    bound: HostArray = np.zeros(())
    for g, total, eps in zip(back.cotangents, back.totals, own, strict=True):
        weighed = np.sum(norms(g, _arrays.namespace(g=g)) * eps, axis=-1)
        bound = bound + weighed + total * np.max(eps, axis=-1)
    return bounded(bound)


def _unmet(certificate: GradientCertificate) -> tuple[str, ...]:
    if certificate.target == SOFTMAX_GRADIENT:
        return certificate.unmet
    return (
        *certificate.unmet,
        f"a layer's gradient is certified against {certificate.target}, not {SOFTMAX_GRADIENT}",
    )


def _checked(dout: Array, value: Array) -> Array:
    """Return dout, or say what is wrong with it."""
    xp: Any = _arrays.namespace(dout=dout, value=value)
    if tuple(dout.shape) != tuple(value.shape) or dout.dtype != value.dtype:
        msg = (
            f"dout has shape {tuple(dout.shape)} and dtype {dout.dtype}: it must have those of the "
            f"output, {tuple(value.shape)} and {value.dtype}"
        )
        raise ValueError(msg)
    if not bool(xp.all(xp.isfinite(dout))):
        msg = "dout holds NaN or infinity: give the gradient of a finite loss"
        raise ValueError(msg)
    return dout
