"""The exact network by its definition: in extended precision with complex numbers, so that a
gradient is a complex step without cancellation, or in balls, for what has to be certain.

Whatever is given leading axes broadcasts: one run can hold a network for each entry of a parameter.
Arrays are plain, under the names of `approxattn.transformer.parameters`; nothing here knows how the
package computes. Balls stand in arrays of objects.

Tokens that are masked take no part: their rows of the output are 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from proofs_check.arithmetic.balls import ball, softmax

Host: TypeAlias = Any
"""Arrays of numbers, or of balls."""
Weights = Mapping[str, Host]

EPSILON = 1e-5


def _swap(x: Host) -> Host:
    return np.swapaxes(x, -1, -2)


def _row(b: Host) -> Host:
    """Return a vector, or a stack of vectors, to be added to every token."""
    return b[..., None, :]


def normalise(x: Host, gain: Host, shift: Host) -> Host:
    """Return layer normalisation of tokens."""
    c = x - np.mean(x, axis=-1, keepdims=True)
    variance = np.mean(c * c, axis=-1, keepdims=True)
    return c / np.sqrt(variance + EPSILON) * _row(gain) + _row(shift)


def activate(x: Host, name: str) -> Host:
    """Return tanh, silu or gelu of balls, or of complex numbers with a tiny imaginary part."""
    if x.dtype == object:
        return np.vectorize(_BALLS[name], otypes=[object])(x)
    if name == "tanh":
        flat = np.clip(x.real, -50, 50)  # 1 - |tanh| is 2e-44 there
        slope = 1 / np.cosh(flat) ** 2
        return np.tanh(flat) + 1j * x.imag * slope
    if name == "silu":
        s = 1 / (1 + np.exp(-np.clip(x.real, -11000, 11000)))
        return x.real * s + 1j * x.imag * (s + x.real * s * (1 - s))
    points, place = np.unique(x.real, return_inverse=True)  # copies share their real parts
    phi, density = (a[place].reshape(x.shape) for a in _normal(points))
    return x.real * phi + 1j * x.imag * (phi + x.real * density)


_BALLS: dict[str, Any] = {
    "tanh": lambda x: x.tanh(),
    "silu": lambda x: x / (1 + (-x).exp()),
    "gelu": lambda x: x * (-x / ball(2).sqrt()).erfc() / 2,
}


def _normal(x: Host) -> tuple[Host, Host]:
    """Return distribution and density of the normal law: the series of positive terms for erf near
    0, a continued fraction for the tail farther out, where the series would cancel.
    """
    pi = 4 * np.arctan(np.longdouble(1))
    density = np.exp(-np.clip(x * x, 0, 22000) / 2) / np.sqrt(2 * pi)
    a = np.clip(x, -4, 4)
    near, term = np.zeros_like(a), a * np.exp(-a * a / 2) / np.sqrt(2 * pi)
    for k in range(120):
        near = near + term
        term = term * a * a / (2 * k + 3)
    far = np.maximum(np.abs(x), 4)
    fraction = far
    for k in range(200, 0, -1):
        fraction = far + k / fraction
    tail = density / fraction
    return np.where(np.abs(x) < 4, 0.5 + near, np.where(x > 0, 1 - tail, tail)), density


def sight(plan: Mapping[str, Any], n: int, mask: Host | None) -> Host:
    """Return which tokens a token sees, shape (..., n, n); itself in any case, which matters for
    masked ones only, whose rows are dropped.
    """
    i, j = np.arange(n)[:, None], np.arange(n)[None, :]
    keep = j <= i if plan["causal"] else np.ones((n, n), bool)
    before, after = plan.get("window") or (None, None)
    keep = keep if before is None else keep & (i - j <= before)
    keep = keep if after is None else keep & (j - i <= after)
    if plan.get("segments") is not None:
        number = np.array(plan["segments"])
        keep = keep & (number[:, None] == number[None, :])
    keep = keep if mask is None else keep & mask[..., None, :]
    return np.asarray(keep | (i == j))


def attend(u: Host, w: Weights, at: str, keep: Host) -> Host:
    """Return multi-head self-attention of tokens, before the residual sum."""
    heads = []
    for h in range(w[f"{at}.wv"].shape[-3]):
        q, k, v = (
            u @ w[f"{at}.{p}"][..., h, :, :] + _row(w[f"{at}.b{p[1]}"][..., h, :])
            for p in ("wq", "wk", "wv")
        )
        heads.append(_softmax(q @ _swap(k), keep, q.shape[-1]) @ v)
    return np.concatenate(heads, axis=-1) @ w[f"{at}.wo"] + _row(w[f"{at}.bo"])


def _softmax(products: Host, keep: Host, width: int) -> Host:
    if products.dtype == object:
        f = np.full(products.shape, ball(0), object)
        for i, row in enumerate(np.broadcast_to(keep, products.shape)):
            seen = np.flatnonzero(row)
            f[i, seen] = softmax([products[i, j] / ball(width).sqrt() for j in seen])
        return f
    s = np.where(keep, products / np.sqrt(np.longdouble(width)), -np.inf)
    e = np.where(keep, np.exp(s - np.max(s.real, axis=-1, keepdims=True)), 0)
    return np.asarray(e / np.sum(e, axis=-1, keepdims=True))


def run(plan: Mapping[str, Any], w: Weights, x: Host, mask: Host | None = None) -> Host:
    """Return F(x) for the architecture that `transformers.model_of` builds from the same plan."""
    x = x @ w["first.0.w"] + _row(w["first.0.b"])
    keep = sight(plan, x.shape[-2], mask)
    for i in range(plan["layers"]):
        at = f"layers.{i}"
        u = normalise(x, w[f"{at}.norm.gain"], w[f"{at}.norm.shift"]) if plan["pre"] else x
        y = attend(u, w, f"{at}.attention", keep)
        x = x + y if plan["residual"] else y
        z = normalise(x, w[f"{at}.then.0.gain"], w[f"{at}.then.0.shift"])
        mlp = f"{at}.then.1.maps.0"
        inner = activate(z @ w[f"{mlp}.w1"] + _row(w[f"{mlp}.b1"]), plan["activation"])
        x = z + (inner @ w[f"{mlp}.w2"] + _row(w[f"{mlp}.b2"]))
    return x


def shown(x: Host, mask: Host | None) -> Host:
    """Return tokens with zeros in the places of masked ones."""
    return x if mask is None else np.where(mask[..., None], x, np.zeros_like(x))


def value(plan: Mapping[str, Any], w: Weights, x: Host, mask: Host | None = None) -> Host:
    """Return F(x), real, of the shape of the tokens."""
    x = shown(x, mask)
    wide = {name: p.astype(np.clongdouble) for name, p in w.items()}
    with np.errstate(all="ignore"):
        return shown(run(plan, wide, x.astype(np.clongdouble), mask).real, mask)


class Case(NamedTuple):
    """One network, its tokens of shape (items, n, d), and the cotangent of what it returns."""

    w: Weights
    x: Host
    dout: Host


def slopes(
    plan: Mapping[str, Any], cases: Sequence[Case], mask: Host | None = None
) -> list[dict[str, Host]]:
    """Return dL/d(parameter) for every name, and dL/dX for the name "x", where L is the sum of
    <dout, F(x)> over items.

    One run holds a copy of the network for each case and each entry of each array: in copy p that
    entry has an imaginary part, and the imaginary part of the output is its slope. Items are
    independent, so that one copy serves the same entry of all of them.
    """
    cases = [Case(c.w, shown(c.x, mask), shown(c.dout, mask)) for c in cases]
    given = [{"x": c.x, **{name: p[None] for name, p in c.w.items()}} for c in cases]
    sizes = {name: a[0].size for name, a in given[0].items()}
    steps = np.empty((len(cases), sum(sizes.values()), len(cases[0].x)), np.longdouble)
    copies, at = {}, 0
    for name, size in sizes.items():
        copies[name] = _stepped([g[name] for g in given], steps, at)
        at += size
    tokens = copies.pop("x")
    with np.errstate(all="ignore"):
        out = run(plan, copies, tokens, mask).imag / steps[..., None, None]
        flat = np.sum(np.stack([c.dout for c in cases])[:, None] * out, axis=(-2, -1))
    return [_apart(case, sizes, rows) for case, rows in zip(cases, flat, strict=True)]


def _stepped(arrays: Sequence[Host], steps: Host, at: int) -> Host:
    """Return as many copies of each array as `steps` has columns; in those from column `at` on one
    entry after the other has an imaginary part, which is written into `steps`.

    Arrays have a leading axis of items, or of one for all of them.
    """
    found = np.empty((*steps.shape[:2], *arrays[0].shape), np.clongdouble)
    entries = np.arange(arrays[0][0].size)
    for copies, step, a in zip(found, steps, arrays, strict=True):
        copies[...] = a
        for item, own in enumerate(a):
            top = np.max(np.abs(own.astype(np.longdouble)))
            size = np.ldexp(top if top > 0 else np.longdouble(1), -2000)
            step[at + entries, item if len(a) > 1 else slice(None)] = size
            copies[(at + entries, item, *np.unravel_index(entries, own.shape))] += 1j * size
    return found


def _apart(case: Case, sizes: Mapping[str, int], rows: Host) -> dict[str, Host]:
    """Return slopes by name from those of every copy (rows) by every item (columns)."""
    found, at = {}, 0
    for name, size in sizes.items():
        part, at = rows[at : at + size], at + size
        if name == "x":
            found[name] = part.T.reshape(case.x.shape)
        else:
            found[name] = part.sum(axis=1).reshape(case.w[name].shape)
    return found
