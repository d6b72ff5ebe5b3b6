"""Sums by the scores themselves with the parts of chosen degrees: `dense.dense_sums`, and of each
block of scores its powers (`powers`) times the last column of values.
"""

from __future__ import annotations

from approxattn._arrays import Array, Namespace
from approxattn.monomials.dense import SCORE_BLOCK, horner, query_blocks, radix
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
    for first, last in query_blocks(values, x.shape[-2], causal):
        total: Array | None = None
        for start, end in _runs(last + earlier if causal else y.shape[-2]):
            part = block(first, last, start, end)
            total = part if total is None else total + part
        out.append(total)
    return xp.concat(out, axis=-2)


def _earlier(x: Array, y: Array) -> int:
    """Return how many of y come before the first of x under causal order."""
    return int(y.shape[-2]) - int(x.shape[-2])


def _product(a: Array, b: Array) -> Array:
    return a * b


def _runs(n: int) -> list[tuple[int, int]]:
    return [(start, min(start + SCORE_BLOCK, n)) for start in range(0, n, SCORE_BLOCK)]
