"""The exact network by its definition, in extended precision, and its whole gradient by complex
steps: what a transformer is held against.

A complex step, f(x + i h) = f(x) + i h f'(x) + O(h^2) with h = 1e-1500, has no cancellation, so
every entry of a gradient comes out to the last digits, whatever the size of the numbers. It needs a
network an entry, all run at once, and shares no line with the package. `random_model` makes the
models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from approxattn._arrays import HostArray
from approxattn.transformer import (
    Layer,
    LayerNorm,
    Linear,
    Mlp,
    Residual,
    SelfAttention,
    Transformer,
    parameters,
)

STEP = np.longdouble("1e-1500")


def random_model(
    rng: np.random.Generator,
    *,
    layers: int = 2,
    d: int = 4,
    heads: int = 2,
    width: int = 2,
    causal: bool = False,
    window: tuple[int | None, int | None] | None = None,
    residual: bool = True,
    norm: str = "pre",
    activation: str = "gelu",
    joint: bool = False,
    biases: bool = True,
    project: bool = True,
    size: float = 0.8,
    dtype: Any = np.float64,
) -> Transformer:
    """Return a model whose matrices have entries of about size/sqrt(rows); norm: "pre", "post" or
    "none".
    """

    def matrix(*shape: int) -> HostArray:
        return (size * rng.standard_normal(shape) / np.sqrt(shape[-2])).astype(dtype)

    def bias(*shape: int) -> HostArray | None:
        return (0.2 * rng.standard_normal(shape)).astype(dtype) if biases else None

    def normalise() -> LayerNorm:
        gain, shift = 1 + 0.1 * rng.standard_normal(d), 0.1 * rng.standard_normal(d)
        return LayerNorm(gain=gain.astype(dtype), shift=shift.astype(dtype))

    def attention() -> SelfAttention:
        keys = d if joint else width
        pair = (
            {"w": matrix(heads, d, d)}
            if joint
            else {"wq": matrix(heads, d, width), "wk": matrix(heads, d, width)}
        )
        values = width if project else d // heads
        end = {"wo": matrix(heads * values, d), "bo": bias(d)} if project else {}
        return SelfAttention(
            **pair,
            **end,
            wv=matrix(heads, d, values),
            bq=bias(heads, keys),
            bk=bias(heads, keys),
            bv=bias(heads, values),
            causal=causal,
            window=window,
            scale=1 / d if joint else None,
        )

    def layer() -> Layer:
        mlp = Mlp(
            w1=matrix(d, 2 * d),
            b1=bias(2 * d),
            w2=matrix(2 * d, d),
            b2=bias(d),
            activation=activation,
        )
        g: tuple[Any, ...] = (
            (Residual(maps=(normalise(), mlp) if norm == "pre" else (mlp,)),)
            if residual
            else (mlp,)
        )
        g = (normalise(), *g, normalise()) if norm == "post" else g
        return Layer(
            attention=attention(),
            norm=normalise() if norm == "pre" else None,
            residual=residual,
            then=g,
        )

    first = (Linear(w=matrix(d, d), b=bias(d)),) if biases else ()
    return Transformer(first=first, layers=tuple(layer() for _ in range(layers)))


def _swap(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def _softmax(s: Any) -> Any:
    e = np.exp(s - np.max(s.real, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def _normal(x: Any) -> tuple[Any, Any]:
    """Return Phi and its density for real x, by the series of positive terms for erf."""
    a = np.clip(x, -14, 14)  # beyond, Phi is 0 or 1 to 43 digits, and 300 terms are not enough
    pi = 4 * np.arctan(np.longdouble(1))
    density, total = np.exp(-a * a / 2) / np.sqrt(2 * pi), np.zeros_like(a)
    term = a * density
    for k in range(300):
        total = total + term
        term = term * a * a / (2 * k + 3)
    # for x < -5 the sum would cancel: the continued fraction of Mills' ratio
    far = np.maximum(np.abs(x), 5)
    ratio = far
    for k in range(60, 0, -1):
        ratio = far + k / ratio
    tail = np.exp(-far * far / 2) / np.sqrt(2 * pi) / ratio
    phi = np.where(np.abs(x) < 5, 0.5 + total, np.where(x < 0, tail, 1 - tail))
    return phi, np.exp(-x * x / 2) / np.sqrt(2 * pi)


def _gelu(x: Any) -> tuple[Any, Any]:
    phi, density = _normal(x)
    return x * phi, phi + x * density


def _silu(x: Any) -> tuple[Any, Any]:
    s = 1 / (1 + np.exp(np.minimum(-x, 11000)))
    return x * s, s + x * s * (1 - s)


def _tanh(x: Any) -> tuple[Any, Any]:
    return np.tanh(x), 1 / np.cosh(np.clip(x, -5000, 5000)) ** 2


ACTIVATIONS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "gelu": _gelu,
    "silu": _silu,
    "tanh": _tanh,
}
"""phi and phi' of real numbers."""


def _activate(x: Any, name: str) -> Any:
    """Return phi(x + i h) = phi(x) + i h phi'(x), for an h whose square is nothing."""
    value, slope = ACTIVATIONS[name](x.real)
    return value + 1j * (x.imag * slope)


def _row(b: Any) -> Any:
    """Return a vector for every token, or 0 for None."""
    return np.longdouble(0) if b is None else b[..., None, :]


def _token_map(g: Any, x: Any) -> Any:
    match g:
        case Linear():
            return x @ g.w + _row(g.b)
        case Mlp():
            return _activate(x @ g.w1 + _row(g.b1), g.activation) @ g.w2 + _row(g.b2)
        case LayerNorm():
            c = x - np.mean(x, axis=-1, keepdims=True)
            deviation = np.sqrt(np.mean(c * c, axis=-1, keepdims=True) + g.epsilon)
            return c / deviation * _row(g.gain) + _row(g.shift)
        case Residual():
            y = x
            for inner in g.maps:
                y = _token_map(inner, y)
            return x + y
    raise TypeError(g)


def seen(a: SelfAttention, n: int, mask: Any, segments: Any = None) -> Any:
    """Return which tokens each token sees, shape (..., n, n); masked ones see themselves."""
    behind = np.arange(n)[:, None] - np.arange(n)
    before, after = a.window or (None, None)
    keep = behind >= 0 if a.causal else np.ones((n, n), bool)
    keep = keep if before is None else keep & (behind <= before)
    keep = keep if after is None else keep & (behind >= -after)
    keep = keep if segments is None else keep & (segments[..., None] == segments[..., None, :])
    return keep if mask is None else keep & mask[..., None, :] | np.eye(n, dtype=bool)


def _attention(a: SelfAttention, u: Any, mask: Any, segments: Any) -> Any:
    keep, heads = seen(a, u.shape[-2], mask, segments), []

    def of(w: Any, h: int) -> Any:
        return w[..., h, :, :]

    def bias(b: Any, h: int) -> Any:
        return _row(None if b is None else b[..., h, :])

    for h in range(a.wv.shape[-3]):
        q = u @ of(a.w if a.w is not None else a.wq, h) + bias(a.bq, h)
        k = (u if a.w is not None else u @ of(a.wk, h)) + bias(a.bk, h)
        v = u @ of(a.wv, h) + bias(a.bv, h)
        beta = q.shape[-1] ** -np.longdouble(0.5) if a.scale is None else np.longdouble(a.scale)
        heads.append(_softmax(np.where(keep, beta * (q @ _swap(k)), -np.inf)) @ v)
    y = np.concatenate(np.broadcast_arrays(*heads), axis=-1)
    y = y if a.wo is None else y @ a.wo
    return y + _row(a.bo)


def run(model: Transformer, x: Any, mask: Any = None, segments: Any = None) -> Any:
    """Return F(x); masked tokens are 0 before, between and after the layers.

    Parameters may have leading axes: a network for each of their indices.
    """

    def shown(t: Any) -> Any:
        return t if mask is None else np.where(np.asarray(mask)[..., None], t, 0)

    x = shown(x)
    for g in model.first:
        x = _token_map(g, x)
    x = shown(x)
    for layer in model.layers:
        u = x if layer.norm is None else _token_map(layer.norm, x)
        y = _attention(layer.attention, u, mask, segments)
        x = x + y if layer.residual else y
        for g in layer.then:
            x = _token_map(g, x)
        x = shown(x)
    return x


def extended(model: Transformer) -> Transformer:
    """Return the model in extended precision; its arrays are no longer for the package."""
    return _rebuilt(
        model, {name: p.astype(np.clongdouble) for name, p in parameters(model).items()}
    )


def _rebuilt(model: Transformer, values: dict[str, Any]) -> Transformer:
    """Replace arrays without the checks of the records, which refuse extended precision."""
    return _copy(model, "", values)


def _copy(node: Any, path: str, values: dict[str, Any]) -> Any:
    if isinstance(node, np.ndarray):
        return values.get(path[:-1], node)
    if isinstance(node, tuple):
        return tuple(_copy(child, f"{path}{i}.", values) for i, child in enumerate(node))
    if hasattr(node, "__dataclass_fields__"):
        new = object.__new__(type(node))
        for name in node.__dataclass_fields__:
            object.__setattr__(new, name, _copy(getattr(node, name), f"{path}{name}.", values))
        return new
    return node


def whole_gradient(
    model: Transformer,
    x: HostArray,
    dout: HostArray,
    mask: HostArray | None = None,
    segments: HostArray | None = None,
) -> tuple[HostArray, dict[str, HostArray]]:
    """Return dL/dX and dL/d(parameter) for L = <dout, F(x)>, every entry by its own
    complex step.
    """
    wide, x = extended(model), x.astype(np.clongdouble)
    dout = np.where(True if mask is None else np.asarray(mask)[..., None], dout, 0)

    def slopes(changed: dict[str, Any], at: Any) -> Any:
        imaginary = run(_rebuilt(wide, changed), at, mask, segments).imag
        total = np.sum(dout * imaginary, axis=tuple(range(1, imaginary.ndim)))
        return total / STEP

    dx = slopes({}, _moved(x, 0)).reshape(x.shape)
    lead = x.ndim - 2
    return dx, {
        name: slopes({name: _moved(p, lead)}, x).reshape(p.shape)
        for name, p in parameters(wide).items()
    }


def _moved(x: Any, lead: int) -> Any:
    """Return x with a complex step in one entry, for each entry, shape (entries, 1, ..., *shape);
    `lead` ones, for the leading axes of the tokens.
    """
    step = np.eye(x.size).astype(np.clongdouble) * (1j * STEP)
    return x + step.reshape(x.size, *(1,) * lead, *x.shape)
