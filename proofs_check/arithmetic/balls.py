"""Ball arithmetic (python-flint) wrapped for attention: precision, outward floats, enclosures of
exact quantities.

Three traps of the library are closed here.

- Its precision is a mutable global: `precision` restores it whatever happens.
- ``float(ball)`` rounds the midpoint: `lower` and `upper` round outward and never return NaN.
- ``arb("0.1")`` is not ``arb(0.1)``: `ball` takes exact numbers only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from flint import arb, arb_mat, ctx, fmpq, fmpz

__all__ = [
    "as_fraction",
    "ball",
    "enclosing_interval",
    "exact_attention",
    "hull",
    "lower",
    "matrix",
    "max_error",
    "power",
    "precision",
    "seen_keys",
    "softmax",
    "upper",
    "yoso_expectation",
]

Ball: TypeAlias = Any
"""A flint ``arb``: a real interval given by midpoint and radius."""

Rows: TypeAlias = list[list[Ball]]
"""A matrix of balls."""


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Work at the given binary precision inside the block, and restore the previous one on every
    way out.

    Do not `yield` balls from inside it: a suspended generator would leave the precision changed.
    """
    if bits < 2:
        msg = f"bits(={bits}) must be at least 2"
        raise ValueError(msg)
    before = ctx.prec
    ctx.prec = bits
    try:
        yield
    finally:
        ctx.prec = before


def ball(x: int | float | Fraction | Ball) -> Ball:
    """Ball around an exact number: a float is the dyadic it is, a Fraction is rounded outward at
    the current precision.
    """
    if isinstance(x, arb):
        return x
    if isinstance(x, Fraction):
        return arb(fmpq(x.numerator, x.denominator))
    if isinstance(x, str):
        msg = (
            f"x(={x!r}) is a string: pass an int, a float or a Fraction, whose value is not in "
            "doubt"
        )
        raise TypeError(msg)
    return arb(x.item() if isinstance(x, np.generic) else x)


def as_fraction(x: int | float | Fraction | Ball) -> Fraction:
    """Exact rational value of a finite number (Fraction, float, int, flint integer or rational)."""
    if isinstance(x, fmpq | fmpz):
        q = fmpq(x)
        return Fraction(int(q.p), int(q.q))
    return Fraction(x.item() if isinstance(x, np.generic) else x)


def upper(x: Ball) -> float:
    """Smallest convenient float that is certainly >= every point of the ball; +inf when nothing is
    known.
    """
    if not x.is_finite():
        return math.inf
    top = x.upper()
    guess = float(top)
    while not (arb(guess) >= top):
        guess = math.nextafter(guess, math.inf)
    return guess


def lower(x: Ball) -> float:
    """Largest convenient float that is certainly <= every point of the ball; -inf when nothing is
    known.
    """
    return -upper(-x)


def enclosing_interval(x: Ball) -> tuple[float, float]:
    """``(lower(x), upper(x))``."""
    return lower(x), upper(x)


def power(x: Ball, n: int) -> Ball:
    """``x`` to a whole power n >= 0 by repeated squaring; the library's ``**`` gives NaN on balls
    around 0.
    """
    result = arb(1)
    while n:
        result = result * x if n & 1 else result
        x, n = x * x, n >> 1
    return result


def hull(low: Ball, high: Ball) -> Ball:
    """Ball containing both balls and everything between; unbounded when either is."""
    if not (low.is_finite() and high.is_finite()):
        return arb(0, math.inf)
    return low.union(high)


def matrix(values: np.ndarray) -> Any:
    """Exact ball matrix of a finite two-dimensional float or integer array.

    Raises
    ------
    ValueError
        When the array is not two-dimensional or not finite.
    """
    host = np.asarray(values)
    if host.ndim != 2 or not np.all(np.isfinite(host)):
        msg = f"values of shape {host.shape} must be a finite two-dimensional array"
        raise ValueError(msg)
    return arb_mat(host.shape[0], host.shape[1], [arb(x) for x in host.ravel().tolist()])


def exact_attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *,
    scale: float | Fraction | Ball | None = None,
    causal: bool = False,
    key_mask: np.ndarray | None = None,
    bits: int = 128,
) -> Rows:
    """Enclose softmax attention of one head.

    Parameters
    ----------
    q, k, v : array, shapes (n_q, d), (n_k, d), (n_k, dv)
        Finite floats, taken as the dyadic numbers they are.
    scale : number or ball or None
        Factor of the scores; None is 1/sqrt(d) without rounding.
    causal : bool
        Query i sees keys 0 to i.
    key_mask : array of bool, shape (n_k,) or (n_q, n_k), or None
        True where a key takes part, for all queries or for each.
    bits : int
        Working precision. 64 certifies float64 to two digits, 53 does not.

    Returns
    -------
    list of rows of balls, shape (n_q, dv)
        Each contains the exact output entry.

    Raises
    ------
    ValueError
        When a query sees no key, or a shape does not fit.
    """
    with precision(bits):
        beta = 1 / arb(q.shape[1]).sqrt() if scale is None else ball(scale)
        keys, values, rows = matrix(k).transpose(), matrix(v), matrix(q) * beta
        scores = rows * keys
        result: Rows = []
        for i in range(q.shape[0]):
            seen = seen_keys(i, k.shape[0], causal, key_mask)
            result.append(_softmax_row([scores[i, j] for j in seen], seen, values))
        return result


def seen_keys(i: int, n_k: int, causal: bool, key_mask: np.ndarray | None) -> list[int]:
    """Indices of the keys that query i sees; ValueError when there is none."""
    mask = key_mask if key_mask is None or key_mask.ndim == 1 else key_mask[i]
    seen = [j for j in range(n_k) if (not causal or j <= i) and (mask is None or bool(mask[j]))]
    if not seen:
        msg = f"query {i} sees no key: the softmax over no keys is undefined"
        raise ValueError(msg)
    return seen


def _shifted_weights(scores: list[Ball]) -> tuple[list[Ball], Ball]:
    """The e^{s_j - m} and their sum; the shift m is exact, so it cancels without error."""
    shift = max((s.mid() for s in scores), key=float)
    weights = [(s - shift).exp() for s in scores]
    return weights, sum(weights, arb(0))


def softmax(scores: list[Ball]) -> list[Ball]:
    """Softmax of at least one score."""
    weights, total = _shifted_weights(scores)
    return [w / total for w in weights]


def _softmax_row(scores: list[Ball], seen: list[int], values: Any) -> list[Ball]:
    """sum_j e^{s_j - m} v_j / sum_j e^{s_j - m}."""
    weights, total = _shifted_weights(scores)
    everywhere = [arb(0)] * values.nrows()
    for w, j in zip(weights, seen, strict=True):
        everywhere[j] = w
    numerator = arb_mat(1, len(everywhere), everywhere) * values
    return [numerator[0, c] / total for c in range(values.ncols())]


def yoso_expectation(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *,
    bits: int,
    normalize: bool = False,
    working_bits: int = 128,
) -> Rows:
    """Enclose the expected YOSO output sum_j (1 - theta_ij / pi)^bits v_j of one head.

    Parameters
    ----------
    q, k, v : array, shapes (n_q, d), (n_k, d), (n_k, dv)
        Finite floats; theta_ij is the angle between q_i and k_j, whatever their lengths.
    bits : int
        Number of hyperplanes of one hash (tau of the paper).
    normalize : bool
        Whether each output row is divided by its Euclidean norm.
    working_bits : int
        Precision; doubled inside, because arccos loses half of it at parallel vectors.

    Raises
    ------
    ValueError
        When a query or key is zero (no direction), or a normalised row may vanish.
    """
    with precision(2 * working_bits):
        queries, keys, values = matrix(q), matrix(k), matrix(v)
        dots = queries * keys.transpose()
        q2, k2 = _squared_norms(queries, "q"), _squared_norms(keys, "k")
        result: Rows = []
        for i in range(q.shape[0]):
            angles = [_angle(dots[i, j] / (q2[i] * k2[j]).sqrt()) for j in range(k.shape[0])]
            p = [power(1 - angle / arb.pi(), bits) for angle in angles]
            row = [
                sum((p[j] * values[j, c] for j in range(k.shape[0])), arb(0))
                for c in range(v.shape[1])
            ]
            result.append(_unit(row) if normalize else row)
        return result


def _squared_norms(rows: Any, name: str) -> list[Ball]:
    norms = [sum((x * x for x in row), arb(0)) for row in rows.tolist()]
    for i, norm in enumerate(norms):
        if not norm > 0:
            msg = f"{name}[{i}] is zero: a zero vector has no direction to hash"
            raise ValueError(msg)
    return norms


def _angle(cosine: Ball) -> Ball:
    """Arccos on the part of the ball inside [-1, 1], where the true cosine lies; arccos
    decreases.
    """
    if not cosine.is_finite():
        return hull(arb(0), arb.pi())
    low, high = cosine.lower(), cosine.upper()
    least = arb(0) if high >= 1 or not high < 1 else high.acos()
    most = arb.pi() if not low > -1 else low.acos()
    return hull(least, most)


def _unit(row: list[Ball]) -> list[Ball]:
    norm = sum((x * x for x in row), arb(0)).sqrt()
    if not norm > 0:
        msg = "an output row may be zero: its direction is undefined"
        raise ValueError(msg)
    return [x / norm for x in row]


def max_error(value: np.ndarray, enclosure: Rows, *, bits: int = 128) -> tuple[float, float]:
    """Certified interval of the largest absolute difference between a float array and what the rows
    enclose.

    Returns
    -------
    tuple of float
        (certainly not more than the true error, certainly not less); (0, 0) for an empty array.
    """
    with precision(bits):
        gaps = [
            abs(arb(float(x)) - b)
            for row, bs in zip(value, enclosure, strict=True)
            for x, b in zip(row, bs, strict=True)
        ]
        return max((max(lower(g), 0.0) for g in gaps), default=0.0), max(
            (upper(g) for g in gaps), default=0.0
        )
