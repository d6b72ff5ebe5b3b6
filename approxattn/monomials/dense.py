"""The same sums by the scores themselves, in blocks: cheaper than features while n is below the
rank, and O(n) memory all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from approxattn._arrays import Array, Namespace, portions

SCORE_BLOCK = 512
"""Queries and keys a block on a host. *Chosen*: a block of scores stays in cache."""


def horner(x: Array, coefficients: tuple[float, ...]) -> Array:
    """Return P(x) entry by entry, in y = x / 2^e with coefficients c_t 2^{et}: those of exp, 1/t!,
    leave float32 at t = 35.
    """
    e = radix(coefficients)
    y = x * 2.0**-e
    balanced = [math.ldexp(c, e * t) for t, c in enumerate(coefficients)]
    total = y * 0 + balanced[-1]
    for c in reversed(balanced[:-1]):
        total = total * y + c
    return total


def radix(coefficients: tuple[float, ...]) -> int:
    """Return the e for which the first and the last coefficient of P(2^e y), among those not 0, are
    about equal.
    """
    present = [t for t, c in enumerate(coefficients) if c != 0]
    if len(present) < 2:
        return 0
    first, last = present[0], present[-1]
    return round(
        (math.log2(abs(coefficients[first])) - math.log2(abs(coefficients[last]))) / (last - first)
    )


def derivative(coefficients: tuple[float, ...]) -> tuple[float, ...]:
    """Return the coefficients of P'."""
    return tuple(t * c for t, c in enumerate(coefficients))[1:] or (0.0,)


def dense_sums(
    x: Array, y: Array, values: Array, coefficients: tuple[float, ...], causal: bool, xp: Namespace
) -> Array:
    """Return sum_j P(x_i . y_j) values_j, over j <= i + n_y - n_x if causal; shapes (..., n_x, d),
    (..., n_y, d), (..., n_y, m) -> (..., n_x, m).
    """

    def weights(first: int, last: int, start: int, end: int) -> Array:
        return horner(_scores(x[..., first:last, :], y[..., start:end, :], xp), coefficients)

    return _blocked(weights, x.shape[-2], y.shape[-2], values, causal, xp)


def dense_gradient(
    x: Array,
    left: Array,
    y: Array,
    right: Array,
    coefficients: tuple[float, ...],
    causal: bool,
    xp: Namespace,
) -> Array:
    """Return sum_j P'(x_i . y_j) (left_i . right_j) y_j, over j <= i if causal; shape (..., n_x,
    d).
    """
    slopes = derivative(coefficients)

    def weights(first: int, last: int, start: int, end: int) -> Array:
        p = horner(_scores(x[..., first:last, :], y[..., start:end, :], xp), slopes)
        return p * _scores(left[..., first:last, :], right[..., start:end, :], xp)

    return _blocked(weights, x.shape[-2], y.shape[-2], y, causal, xp)


def _scores(x: Array, y: Array, xp: Namespace) -> Array:
    return xp.matmul(x, xp.matrix_transpose(y))


def query_blocks(values: Array, n_x: int, causal: bool) -> list[tuple[int, int]]:
    """Return first and last of the queries that are taken at a time, each with SCORE_BLOCK keys; on
    a device many, but under a causal mask, where most scores of a wide block would be for nothing.
    """
    row = 5 * math.prod(values.shape[:-2]) * SCORE_BLOCK
    step = SCORE_BLOCK if causal else portions.at_once(values, SCORE_BLOCK, row)
    return [(first, min(first + step, n_x)) for first in range(0, n_x, step)]


def _blocked(
    weights: Callable[[int, int, int, int], Array],
    n_x: int,
    n_y: int,
    values: Array,
    causal: bool,
    xp: Namespace,
) -> Array:
    out = []
    for first, last in query_blocks(values, n_x, causal):
        stop = last + n_y - n_x if causal else n_y
        total: Array | None = None
        for start in range(0, stop, SCORE_BLOCK):
            end = min(start + SCORE_BLOCK, stop)
            w = weights(first, last, start, end)
            if causal and end > first + n_y - n_x + 1:
                w = xp.tril(w, k=first + n_y - n_x - start)
            part = xp.matmul(w, values[..., start:end, :])
            total = part if total is None else total + part
        out.append(total)
    return xp.concat(out, axis=-2)
