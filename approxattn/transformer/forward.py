"""The forward pass, with any attention method in any layer, and its error.

T4 (proved in `attention_error.py`, `mlp.py`, `norm.py`). Beside every T_i goes delta, a bound on
the Euclidean distance of each row to the row of the exact network: softmax attention in every
layer, the same weights, no rounding. The method's own certificate enters in every layer. What came
before is carried through by bounds measured at the computed point, which is where the gradient will
be taken.

Where a value is NaN or infinite the bound is inf, from there on (`affine.where_finite`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_flag
from approxattn._arrays import Array, HostArray
from approxattn._arrays.entry import public
from approxattn._problem import quietly
from approxattn.certificate import SOFTMAX, Certificate
from approxattn.methods.protocol import Method
from approxattn.transformer.affine import adding_rounding, bounded, where_finite
from approxattn.transformer.attention_error import attention_errors
from approxattn.transformer.model import Layer, Transformer
from approxattn.transformer.padding import check_mask, lent, shown, shown_bounds
from approxattn.transformer.reasons import Place, is_finite, reasons, unmet
from approxattn.transformer.results import TARGET, LayerErrors, Output
from approxattn.transformer.self_attention import Heads
from approxattn.transformer.sight import Sight, check_segments
from approxattn.transformer.token_map import Trace, trace, trace_errors


@dataclass(frozen=True, kw_only=True)
class LayerRun:
    """One layer's forward pass: all that its gradient needs."""

    x: Array
    u: Array
    heads: Heads
    z: Array
    then: Trace


class Plan(NamedTuple):
    """How the layers are run: one method and one seed each; which tokens see each other."""

    methods: tuple[Method, ...]
    seeds: Sequence[int | None]
    sight: Sight
    second_moments: bool

    def run(self, i: int, layer: Layer, x: Array) -> LayerRun:
        """Run layer i on T_{i-1} = x, shape (..., n, d)."""
        with located(i):
            x = lent(x, self.sight.mask)
            return run_layer(
                layer, x, self.methods[i], self.sight, self.seeds[i], self.second_moments
            )


@public()
@quietly
def forward(
    model: Transformer,
    x: Array,
    method: Method | Sequence[Method],
    *,
    key_mask: Array | None = None,
    segments: Array | None = None,
    rng: np.random.Generator | None = None,
    certify: bool = True,
    second_moments: bool = False,
) -> Output:
    """Run a transformer with approximate attention and bound the distance to the exact network.

    Parameters
    ----------
    model : Transformer
        Weights; float32 or float64, one library and device.
    x : array, shape (..., n, d), or (..., n) of integers when the model begins with an `Embedding`
        Input; of the dtype of the weights.
    method : method, or a sequence with one a layer
        Any attention method.
    key_mask : array of bool, broadcastable to (..., n), optional
        True for tokens that take part. What stands in the others is never read, be it NaN or 1e300:
        no token attends to them, and their own rows of T_0, ..., T_m are 0.
    segments : array of int, broadcastable to (..., n), optional
        Numbers of packed sequences, each one run of tokens: a token attends to its own sequence
        only. An `Embedding` counts positions from the first token of all.
    rng : numpy.random.Generator, optional
        Needed by randomised methods; each layer draws from its own child.
    certify : bool
        Whether to carry error bounds along, at O(n d) and a few singular values a layer.
    second_moments : bool
        Whether each layer's method also computes the second moments of its keys and values, p (p +
        1) more columns for heads of width p, and O(n p^2) more memory: the bounds then grow from
        layer to layer by what the Jacobian at the computed point allows, not by the diameter of the
        values.

    Returns
    -------
    Output
        Value, the activations between the layers, the certificate.

    Raises
    ------
    TypeError, ValueError
        Shapes, dtypes or a number of methods that do not fit; whatever `attention` raises.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> from approxattn.transformer import Layer, Residual, Mlp, SelfAttention, Transformer, forward
    >>> w = lambda *shape: np.random.default_rng(0).standard_normal(shape) / 4
    >>> layer = Layer(
    ...     attention=SelfAttention(wq=w(2, 8, 4), wk=w(2, 8, 4), wv=w(2, 8, 4), causal=True),
    ...     residual=True,
    ...     then=(Residual(maps=(Mlp(w1=w(8, 16), w2=w(16, 8)),)),),
    ... )
    >>> model = Transformer(layers=(layer, layer))
    >>> x = np.random.default_rng(1).uniform(-1, 1, (50, 8))
    >>> out = forward(model, x, aa.Polynomial(degree=6))
    >>> exact = forward(model, x, aa.Exact())
    >>> error = np.max(np.abs(out.value - exact.value))
    >>> bool(error <= out.certificate.bound + exact.certificate.bound)
    True
    """
    for name, flag in (("certify", certify), ("second_moments", second_moments)):
        check_flag(name, flag)
    start = begin(model, x, key_mask, segments, certify=certify)
    mask = start.sight.mask
    methods, seeds = methods_of(model, method), seeds_of(model, method, rng)
    plan = Plan(methods, seeds, start.sight, certify and second_moments)
    tokens: list[Array] = [start.value]
    layers: list[LayerErrors] = []
    for i, layer in enumerate(model.layers):
        run = plan.run(i, layer, tokens[-1])
        if certify:
            delta = layers[-1].out if layers else start.deltas[-1]
            layers.append(layer_errors(layer, run, delta, start.sight))
        tokens.append(shown(run.then.value, mask))
    return Output(
        value=tokens[-1],
        tokens=tuple(tokens),
        certificate=_certificate(start, layers, tokens) if certify else None,
        layers=tuple(layers),
    )


class Start(NamedTuple):
    """The way through the first maps: who sees whom, T_0, what each map was given, and delta at
    every step (none without bounds).
    """

    sight: Sight
    value: Array
    run: Trace
    deltas: tuple[HostArray, ...]


def begin(
    model: Transformer, x: Array, key_mask: Array | None, segments: Array | None, *, certify: bool
) -> Start:
    """Check x and the masks, and apply g_0."""
    xp = _arrays.namespace(x=x)
    floats = bool(xp.isdtype(x.dtype, "real floating"))
    if not model.first and (x.ndim < 2 or not floats):
        msg = (
            f"x has shape {tuple(x.shape)} and dtype {x.dtype}: a model without an Embedding takes "
            "float tokens (..., n, d)"
        )
        raise ValueError(msg)
    if 0 in x.shape:
        msg = f"x has shape {tuple(x.shape)}: a transformer needs at least one token"
        raise ValueError(msg)
    shape = tuple(x.shape[:-1] if floats else x.shape)
    mask = check_mask(key_mask, x, shape)
    sight = Sight(mask=mask, segments=check_segments(segments, shape))
    run = trace(model.first, lent(x, mask))
    deltas: list[HostArray] = []
    if certify:
        deltas = trace_errors(model.first, run, np.zeros(run.value.shape[:-1]))
        deltas[-1] = shown_bounds(where_finite(deltas[-1], run.value), mask)
    return Start(sight, shown(run.value, mask), run, tuple(deltas))


def methods_of(model: Transformer, method: Method | Sequence[Method]) -> tuple[Method, ...]:
    """Return one method a layer."""
    if not isinstance(method, Sequence):
        return (method,) * len(model.layers)
    if len(method) != len(model.layers):
        msg = (
            f"method has {len(method)} entries for {len(model.layers)} layers: give one method, or "
            "one a layer"
        )
        raise ValueError(msg)
    return tuple(method)


def seeds_of(
    model: Transformer, method: Method | Sequence[Method], rng: np.random.Generator | None
) -> list[int | None]:
    """Return a seed a layer, so that a layer can be run twice with the same draws."""
    if rng is None:
        return [None] * len(model.layers)
    if not isinstance(rng, np.random.Generator):
        msg = f"rng is {rng!r}: it must be a numpy.random.Generator"
        raise TypeError(msg)
    return [int(s) for s in rng.integers(2**63, size=len(methods_of(model, method)))]


def run_layer(
    layer: Layer,
    x: Array,
    method: Method,
    sight: Sight,
    seed: int | None,
    second_moments: bool = False,
) -> LayerRun:
    """Run one layer on tokens x, shape (..., n, d)."""
    u = x if layer.norm is None else layer.norm(x)
    _check_finite(u)
    heads = layer.attention.attend(u, method, sight, generator(seed), second_moments)
    y = layer.attention.combine(heads.out)
    if layer.residual and y.shape != x.shape:
        msg = (
            f"residual=True adds tokens {tuple(x.shape)} to an attention output {tuple(y.shape)}: "
            "choose wo or the widths of the heads so that they agree"
        )
        raise ValueError(msg)
    z = x + y if layer.residual else y
    return LayerRun(x=x, u=u, heads=heads, z=z, then=trace(layer.then, z))


def _check_finite(u: Array) -> None:
    """Refuse tokens that no attention can be computed of."""
    if not is_finite(u):
        msg = (
            f"tokens before the attention exceed what {_arrays.dtype_name(u)} holds, or are NaN: "
            "use smaller numbers, or float64"
        )
        raise ValueError(msg)


def layer_errors(layer: Layer, run: LayerRun, delta: HostArray, sight: Sight) -> LayerErrors:
    """Carry delta through one layer."""
    moved = delta if layer.norm is None else where_finite(layer.norm.error(run.x, delta), run.u)
    attention = attention_errors(layer.attention, run.u, run.heads, moved, sight)
    z = attention.out
    if layer.residual:
        z = bounded(delta + attention.out + adding_rounding(run.z))
    z = where_finite(z, run.z)
    out = shown_bounds(trace_errors(layer.then, run.then, z)[-1], sight.mask)
    return LayerErrors(
        x=delta, u=moved, attention=attention, z=z, out=out, certificate=run.heads.certificate
    )


@contextmanager
def located(i: int) -> Iterator[None]:
    """Add the number of the layer to an error raised inside."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.add_note(f"in layer {i} of the transformer, counted from 0")
        raise


def generator(seed: int | None) -> np.random.Generator | None:
    """Return a new generator, or None without a seed."""
    return None if seed is None else np.random.default_rng(seed)


def _certificate(
    start: Start, layers: Sequence[LayerErrors], tokens: Sequence[Array]
) -> Certificate:
    """Return the bound on the entries of T_m: no entry of a row exceeds its Euclidean norm."""
    deltas = [start.deltas[-1], *(layer.out for layer in layers)]
    failure = sum(
        failure_of(layer.certificate.failure, layer.certificate.rows.shape[-2]) for layer in layers
    )
    facts = {"layers": len(layers)} | {
        f"after layer {i}": delta for i, delta in enumerate(deltas) if i
    }
    return Certificate(
        rows=deltas[-1],
        target=TARGET,
        theorem="ours.layers",
        failure=min(1.0, failure),
        facts=facts,
        unmet=reasons(
            (r for layer in layers for r in unmet(layer.certificate, SOFTMAX)),
            [Place(f"T_{i}", t, d) for i, (t, d) in enumerate(zip(tokens, deltas, strict=True))],
        ),
    )


def failure_of(failure: float, heads: int) -> float:
    """Return the probability that one of several certificates fails."""
    return failure * heads
