"""Rows as directions: what hashing and YOSO see of queries, keys and outputs.

Every row is first divided by its largest entry, so that its norm neither overflows nor underflows. With u = 2^-53, s = sum_t (x_t / top)^2 in [1, d]
and correctly rounded operations, an entry x_t / top / sqrt(s) of a unit row has relative error at most gamma_{d/2+5}: one rounding for the
first division, half of the gamma_{d+4} of s, one each for the root and the second division; plus at most 2^-1022 d where it underflows.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem import Problem
from approxattn.rounding import gamma, up
from approxattn.score_bounds import row_norms

ZERO_ROWS = ("raise", "orthogonal")
"""What to do with a row that has no direction."""


def is_zero(x: Array, xp: Namespace) -> Array:
    """Return which rows of x, shape (..., n, d), are zero: bool, shape (..., n)."""
    return xp.all(x == 0, axis=-1)


def over_largest(x: Array, xp: Namespace) -> Array:
    """Return each row divided by its largest absolute entry; a zero row stays zero."""
    top = xp.max(xp.abs(x), axis=-1, keepdims=True)
    return x / xp.where(top > 0, top, xp.ones_like(top))


def unit_rows(x: Array, xp: Namespace) -> Array:
    """Return each row divided by its Euclidean norm; a zero row stays zero."""
    x = over_largest(x, xp)
    squares = xp.sum(x * x, axis=-1, keepdims=True)
    return x / xp.sqrt(xp.where(squares > 0, squares, xp.ones_like(squares)))


def check_zero_rows(problem: Problem, policy: str) -> None:
    """Refuse a zero query, or a zero key that some query sees, unless the policy is "orthogonal".

    Raises
    ------
    ValueError
        Naming the first such row.
    """
    if policy == "orthogonal":
        return
    xp, mask = problem.xp, problem.key_mask
    for name, rows in (("q", problem.q), ("k", problem.k)):
        zero = is_zero(rows, xp)
        zero = zero & mask if name == "k" and mask is not None else zero
        if bool(xp.any(zero)):
            first = [int(i) for i in np.argwhere(_arrays.to_host(zero))[0]]
            msg = f"{name}{first} is a zero row, which has no direction to compare: remove or mask it, or pass zero_rows='orthogonal'"
            raise ValueError(msg)


def normalised_error(b: Array, error: HostArray, xp: Namespace) -> HostArray:
    """Bound the distance of `unit_rows(b)`, b float64 of shape (..., n, c), to a/|a|, where |b - a| <= error, shape (..., n); 0/|0| = 0.

    Dunkl & Williams (1964; wording unverified): | a/|a| - b/|b| | <= 2 |a - b| / (|a| + |b|) in a Hilbert space. Proved here: with
    alpha = |a|, beta = |b| and c = <a, b>/(alpha beta), |a - b|^2 = (alpha - beta)^2 + 2 alpha beta (1 - c), and
    |a - b|^2 - (alpha + beta)^2 (1 - c)/2 = (alpha - beta)^2 (1 + c)/2 >= 0, where 2 (1 - c) is the square of the left-hand side.
    The norm |a| is at least |b| - error. Both sides lie in the unit ball, so 2 bounds the distance always.
    """
    width = b.shape[-1]
    low = row_norms(b, xp) * (
        1 - min(1.0, 4 * gamma(width + 10, 2.0**-53))
    )  # below |b|: `row_norms` is above, by less than this
    far = low <= error  # a may be zero, or point anywhere
    distance = np.where(far, 2.0, 2 * error / np.where(far, 1.0, 2 * low - error))
    distance = np.where((low == 0) & (error == 0), 0.0, distance)
    return up(np.minimum(distance, 2.0) + gamma(width / 2 + 6, 2.0**-53))
