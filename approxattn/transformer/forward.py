"""The forward pass, with any attention method in any layer, and its error.

T4 (proved in `attention_error.py`, `mlp.py`, `norm.py`). Beside every T_i goes delta, a bound on
the Euclidean distance of each row to the row of the exact network: softmax attention in every
layer, the same weights, no rounding. The method's own certificate enters in every layer; what came
before is carried through by bounds measured at the computed point, which is where the gradient will
be taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.certificate import SOFTMAX, Certificate
from approxattn.methods.protocol import Method
from approxattn.transformer.affine import bounded, norms, roundoff
from approxattn.transformer.attention_error import attention_errors
from approxattn.transformer.model import Layer, Transformer
from approxattn.transformer.results import TARGET, LayerErrors, Output
from approxattn.transformer.self_attention import Heads
from approxattn.transformer.token_map import Trace, trace, trace_errors


@dataclass(frozen=True, kw_only=True)
class LayerRun:
    """One layer's forward pass: all that its gradient needs."""

    x: Array
    u: Array
    heads: Heads
    z: Array
    then: Trace


def forward(
    model: Transformer,
    x: Array,
    method: Method | Sequence[Method],
    *,
    key_mask: Array | None = None,
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
        True for tokens that may be attended to.
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
    methods, seeds = methods_of(model, method), seeds_of(model, method, rng)
    # a bound that overflows is inf
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        first = trace(model.first, check_input(model, x))
        delta = first_errors(model, x, first)[-1] if certify else None
        tokens, layers = [first.value], []
        for i, layer in enumerate(model.layers):
            with located(i):
                run = run_layer(
                    layer, tokens[-1], methods[i], key_mask, seeds[i], certify and second_moments
                )
            if delta is not None:
                layers.append(layer_errors(layer, run, delta, key_mask))
                delta = layers[-1].out
            tokens.append(run.then.value)
        certificate = None if delta is None else _certificate(delta, layers)
    return Output(
        value=tokens[-1], tokens=tuple(tokens), certificate=certificate, layers=tuple(layers)
    )


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


def check_input(model: Transformer, x: Array) -> Array:
    """Return x, or say what is wrong with it."""
    xp = _arrays.namespace(x=x)
    if not model.first and (x.ndim < 2 or not xp.isdtype(x.dtype, "real floating")):
        msg = (
            f"x has shape {tuple(x.shape)} and dtype {x.dtype}: a model without an Embedding takes "
            "float tokens (..., n, d)"
        )
        raise ValueError(msg)
    if 0 in x.shape:
        msg = f"x has shape {tuple(x.shape)}: a transformer needs at least one token"
        raise ValueError(msg)
    return x


def first_errors(model: Transformer, x: Array, first: Trace) -> list[HostArray]:
    """Return delta at the input of each map of g_0 and at its output."""
    n = first.value.shape[:-1]
    return trace_errors(
        model.first, first.inputs, np.zeros(x.shape if tuple(x.shape) == tuple(n) else n)
    )


def run_layer(
    layer: Layer,
    x: Array,
    method: Method,
    key_mask: Array | None,
    seed: int | None,
    second_moments: bool = False,
) -> LayerRun:
    """Run one layer on tokens x, shape (..., n, d)."""
    u = x if layer.norm is None else layer.norm(x)
    heads = layer.attention.attend(u, method, key_mask, generator(seed), second_moments)
    y = layer.attention.combine(heads.out)
    if layer.residual and y.shape != x.shape:
        msg = (
            f"residual=True adds tokens {tuple(x.shape)} to an attention output {tuple(y.shape)}: "
            "choose wo or the widths of the heads so that they agree"
        )
        raise ValueError(msg)
    z = x + y if layer.residual else y
    return LayerRun(x=x, u=u, heads=heads, z=z, then=trace(layer.then, z))


def layer_errors(
    layer: Layer, run: LayerRun, delta: HostArray, key_mask: Array | None
) -> LayerErrors:
    """Carry delta through one layer."""
    xp = _arrays.namespace(x=run.x)
    moved = delta if layer.norm is None else layer.norm.error(run.x, delta)
    attention = attention_errors(layer.attention, run.u, run.heads, moved, key_mask)
    z = attention.out
    if layer.residual:
        z = bounded(delta + attention.out + roundoff(run.x) * norms(run.z, xp))
    out = trace_errors(layer.then, run.then.inputs, z)[-1]
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


def _certificate(delta: HostArray, layers: Sequence[LayerErrors]) -> Certificate:
    """Return the bound on the entries of T_m: no entry of a row exceeds its Euclidean norm."""
    failure = sum(
        failure_of(layer.certificate.failure, layer.certificate.rows.shape[-2]) for layer in layers
    )
    reasons = tuple(dict.fromkeys(r for layer in layers for r in unmet(layer.certificate)))
    facts = {"layers": len(layers)} | {
        f"after layer {i + 1}": layer.out for i, layer in enumerate(layers)
    }
    return Certificate(
        rows=delta,
        target=TARGET,
        theorem="ours.layers",
        failure=min(1.0, failure),
        facts=facts,
        unmet=reasons,
    )


def failure_of(failure: float, heads: int) -> float:
    """Return the probability that one of several certificates fails."""
    return failure * heads


def unmet(certificate: Certificate) -> tuple[str, ...]:
    """Return why a method's certificate says nothing about softmax attention, if so."""
    if certificate.target == SOFTMAX:
        return certificate.unmet
    return (
        *certificate.unmet,
        f"a layer's attention is certified against {certificate.target}, not {SOFTMAX}",
    )
