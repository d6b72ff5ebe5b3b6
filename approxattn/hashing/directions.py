"""Rows as directions: what hashing and YOSO see of queries, keys and outputs.

Every row is first divided by its largest entry, so that its norm neither overflows nor underflows.

Rounding of a unit row (proved here), for correctly rounded operations in float64. The row has the
largest entry `top`; s = sum_t (x_t / top)^2 lies in [1, d]. An entry of the unit row is x_t / top /
sqrt(s). Its relative error is at most gamma_{d/2+5}:

1. one rounding for the first division;
2. half of the gamma_{d+4} of s;
3. one rounding each for the root and for the second division.

Where it underflows, at most 2^-1022 d is lost besides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._arrays.crossing import at_hand, far, fetched
from approxattn._problem import Problem
from approxattn.bounds.rounding import U64, gamma, up
from approxattn.bounds.scores import row_lengths, row_norms

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


def over_length(value: Array, x: Array, xp: Namespace) -> Array:
    """Return each row of `value` divided by the Euclidean norm of the same row of x, shapes (...,
    n, c), (..., n, d); 0 where x is zero, infinite where the quotient is beyond the dtype.
    """
    top = xp.max(xp.abs(x), axis=-1, keepdims=True)
    shape = xp.sqrt(xp.sum(over_largest(x, xp) ** 2, axis=-1, keepdims=True))
    some, ones = top > 0, xp.ones_like(top)
    with np.errstate(over="ignore", under="ignore"):
        quotient = value / xp.where(some, shape, ones) / xp.where(some, top, ones)
    return xp.where(some, quotient, xp.zeros_like(value))


class Lengths(NamedTuple):
    """Lengths of rows by two factors, shapes (..., n), in float64, at hand: the largest entry, and
    the length of the row divided by it, within [1, sqrt(d)] but for rounding; and d.
    """

    top: Array
    shape: Array
    d: int


def lengths_of(x: Array, xp: Namespace) -> Lengths:
    """Return those of the rows of x, shape (..., n, d)."""
    x = _arrays.cast(x, "float64", xp)
    top = at_hand(xp.max(xp.abs(x), axis=-1))
    return Lengths(top, at_hand(xp.sqrt(xp.sum(over_largest(x, xp) ** 2, axis=-1))), x.shape[-1])


def error_over_length(errors: HostArray, lengths: Lengths) -> HostArray:
    """Return an upper bound of errors / |x| from the `lengths_of` x, shape (..., n); 0 where x is
    zero, so that nothing is divided.
    """
    top, shape = (_arrays.to_host(x) for x in lengths[:2])
    some = top > 0
    low = np.where(some, shape, 1.0) * (1 - gamma(lengths.d + 8, U64))
    with np.errstate(over="ignore"):
        return np.where(some, up(errors / low / np.where(some, top, 1.0)), 0.0)


def check_zero_rows(problem: Problem, policy: str) -> None:
    """Refuse a zero query, or a zero key that some query sees, unless the policy is "orthogonal".

    Raises
    ------
    ValueError
        Naming the first such row.
    """
    if policy == "orthogonal":
        return
    xp = problem.xp
    if far(problem.q) and not any(fetched(*(_any_zero(problem, name) for name in ("q", "k")))):
        return
    for name, rows in (("q", problem.q), ("k", problem.k)):
        if not bool(xp.any(rows[..., 0] == 0)):
            continue  # no row begins with a zero, so none is zero
        zero = _zero_rows(problem, name)
        if bool(xp.any(zero)):
            first = [int(i) for i in np.argwhere(_arrays.to_host(zero))[0]]
            other = "" if name == "q" else "hide it with key_mask, or "
            msg = (
                f"{name}{first} is a zero row, which has no direction to compare: {other}pass "
                "zero_rows='orthogonal'"
            )
            raise ValueError(msg)


def _zero_rows(problem: Problem, name: str) -> Array:
    """Return which queries, or which visible keys, are zero, shape (..., n)."""
    zero, mask = is_zero(getattr(problem, name), problem.xp), problem.key_mask
    return zero & mask if name == "k" and mask is not None else zero


def _any_zero(problem: Problem, name: str) -> Array:
    return problem.xp.any(_zero_rows(problem, name))


def normalised_error(b: Array, error: HostArray, xp: Namespace) -> HostArray:
    """Return `turn_of_length` for rows b, float64, shape (..., n, c)."""
    return turn_of_length(row_norms(b, xp), b.shape[-1], error)


def turn_of_length(length: HostArray, width: int, error: HostArray) -> HostArray:
    """Bound the distance of `unit_rows(b)` to a/|a|, where |b - a| <= error and |b| <= length, as
    `row_norms` says, shapes (..., n), for b and a of so many columns; 0/|0| = 0.

    Dunkl & Williams (1964; wording unverified): | a/|a| - b/|b| | <= 2 |a - b| / (|a| + |b|) in a
    Hilbert space. Proved here, with alpha = |a|, beta = |b| and c = <a, b>/(alpha beta):

    1. The square of the left-hand side is 2 (1 - c).
    2. |a - b|^2 = (alpha - beta)^2 + 2 alpha beta (1 - c).
    3. |a - b|^2 - (alpha + beta)^2 (1 - c)/2 = (alpha - beta)^2 (1 + c)/2 >= 0.
    4. The norm |a| is at least |b| - error.
    5. Both unit rows lie in the unit ball, so 2 bounds the distance always.
    """
    low = _below(length, width)
    lost = low <= error  # a may be zero, or point anywhere
    distance = np.where(lost, 2.0, 2 * error / np.where(lost, 1.0, 2 * low - error))
    distance = np.where((low == 0) & (error == 0), 0.0, distance)
    return up(np.minimum(distance, 2.0) + gamma(width / 2 + 6, U64))


def _below(length: HostArray, width: int) -> HostArray:
    """Return a lower bound on |b|: `row_norms` is above, by less than this."""
    return length * (1 - min(1.0, 4 * gamma(width + 10, U64)))


class Divided(NamedTuple):
    """What `length_noise` needs of a cotangent and of the rows that it went through, shapes (...,
    n), at hand: lengths as `row_norms` says, which rows of the cotangent are zero, and the number
    of columns.
    """

    of_cotangent: Array
    of_rows: Array
    nothing: Array
    width: int


def through_length(dout: Array, b: Array, xp: Namespace) -> tuple[Array, Divided]:
    """Return the cotangent of a, H = (I - o o^T) G / |a| with o = a/|a|, for the cotangent G = dout
    of o, and what bounds the errors of its rows, by `length_noise`.

    Shapes (..., n, c), all float64; b is near a. Where b is zero, H is 0.

    Proved here, with o' = b/|b| and e the error of b:

    1. The projections across o and o' differ by the sine of the angle of o and o', at most
       |o - o'|.
    2. So H is off by at most |G| (|o - o'|/|b| + |1/|a| - 1/|b||) in exact arithmetic.
    3. |1/|a| - 1/|b|| <= e/(|b| (|b| - e)).
    4. Rounding adds gamma_{2c+16} |G|/|b|.
    """
    o = unit_rows(b, xp)
    h = over_length(dout - xp.sum(dout * o, axis=-1, keepdims=True) * o, b, xp)
    known = row_lengths(dout, xp), row_lengths(b, xp), is_zero(dout, xp), b.shape[-1]
    return h, Divided(*known)


def length_noise(known: Divided, error: HostArray) -> HostArray:
    """Return the bound on the errors of the rows of H, for b within `error` of a, shape (..., n);
    inf where b cannot be told from zero.
    """
    of_cotangent, of_rows, nothing = (_arrays.to_host(x) for x in known[:3])
    turn = turn_of_length(of_rows, known.width, error)
    low = _below(of_rows, known.width)
    lost = low <= 2 * error + 2.0**-1000
    safe = np.where(lost, 1.0, low)
    spread = turn + error / np.where(lost, 1.0, safe - error) + gamma(2 * known.width + 16, U64)
    with np.errstate(over="ignore"):
        noise = np.where(lost, np.inf, up(of_cotangent * spread / safe))
    return np.where(nothing, 0.0, noise)
