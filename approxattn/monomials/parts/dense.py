"""Sums by the scores themselves with the parts of chosen degrees: `dense.dense_sums`, and of each
block of scores its powers (`powers`) times the last column of values.

On NumPy arrays the block, its polynomial and its powers lie in memory that is allocated once.
"""

from __future__ import annotations

import math

import numpy as np

from approxattn._arrays import Array, HostArray, Namespace
from approxattn.monomials.dense import SCORE_BLOCK, horner, radix
from approxattn.monomials.numpy_dense import horner_into
from approxattn.monomials.numpy_features import Scratch
from approxattn.monomials.parts.powers import powers, scales


def dense_sums_with_parts(
    x: Array,
    y: Array,
    values: Array,
    coefficients: tuple[float, ...],
    causal: bool,
    xp: Namespace,
    degrees: tuple[int, ...],
) -> Array:
    """Return the sums and behind them the parts, shapes (..., n_x, d), (..., n_y, d), (..., n_y, m)
    -> (..., n_x, m + number of degrees).
    """
    e, factors, earlier = radix(coefficients), scales(coefficients, degrees), _earlier(x, y)

    def block(first: int, last: int, start: int, end: int) -> Array:
        own = values[..., start:end, :]
        s = xp.matmul(x[..., first:last, :], xp.matrix_transpose(y[..., start:end, :]))
        p, s = horner(s, coefficients), s * 2.0**-e
        if causal and end > first + earlier + 1:
            p, s = (xp.tril(a, k=first + earlier - start) for a in (p, s))
        found = [xp.matmul(p, own)]
        for power, factor in zip(powers(s, degrees, _product), factors, strict=True):
            found.append(xp.matmul(power, own[..., -1:]) * factor)
        return xp.concat(found, axis=-1)

    out = []
    for first, last in _runs(x.shape[-2]):
        total: Array | None = None
        for start, end in _runs(last + earlier if causal else y.shape[-2]):
            part = block(first, last, start, end)
            total = part if total is None else total + part
        out.append(total)
    return xp.concat(out, axis=-2)


def numpy_dense_sums_with_parts(
    x: HostArray,
    y: HostArray,
    values: HostArray,
    coefficients: tuple[float, ...],
    causal: bool,
    degrees: tuple[int, ...],
) -> tuple[HostArray, HostArray]:
    """Return the sums, shape (..., n_x, m), and the parts, shape (..., n_x, number of degrees)."""
    *batch, n_x, _ = x.shape
    n_y, m = values.shape[-2:]
    size = math.prod(batch) * min(n_x, SCORE_BLOCK) * min(n_y, SCORE_BLOCK)
    room = [Scratch(size, x.dtype) for _ in range(3)]
    out = np.zeros((*batch, n_x, m), x.dtype)
    parts = np.zeros((*batch, len(degrees), n_x), x.dtype)
    ones = np.ascontiguousarray(values[..., -1:])
    factors, earlier = scales(coefficients, degrees), _earlier(x, y)
    for first, last in _runs(n_x):
        for start, end in _runs(last + earlier if causal else n_y):
            s, p, z = (a.shaped(*batch, last - first, end - start) for a in room)
            np.matmul(x[..., first:last, :], np.swapaxes(y[..., start:end, :], -1, -2), out=s)
            horner_into(p, s, coefficients)  # leaves s / b
            if causal and end > first + earlier + 1:
                diagonal = first + earlier - start
                above = ~np.tri(last - first, end - start, diagonal, dtype=np.bool_)
                for a in (p, s):
                    np.copyto(a, 0, where=above)
            out[..., first:last, :] += p @ values[..., start:end, :]

            def into(a: HostArray, b: HostArray, z: HostArray = z) -> HostArray:
                return np.multiply(a, b, out=z)

            for k, power in enumerate(powers(s, degrees, into)):
                part = (power @ ones[..., start:end, :])[..., 0]
                parts[..., k, first:last] += factors[k] * part
    return out, np.swapaxes(parts, -1, -2)


def _earlier(x: Array, y: Array) -> int:
    """Return how many of y come before the first of x under causal order."""
    return int(y.shape[-2]) - int(x.shape[-2])


def _product(a: Array, b: Array) -> Array:
    return a * b


def _runs(n: int) -> list[tuple[int, int]]:
    return [(start, min(start + SCORE_BLOCK, n)) for start in range(0, n, SCORE_BLOCK)]
