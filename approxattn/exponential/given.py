"""Any polynomial in the place of exp: what is sure of coefficients that come from outside.

Symbols. P = sum_t c_t s^t is given; B is a half range, lambda any number, Delta = P - lambda e^s.
Majorants of |Delta|, for T5: `given_majorants`.

By the range (T1). Let c_0 > 0, lambda = c_0, and 0 <= x, y with -y <= Delta e^-s / lambda <= x on
[-b, b].

1. P e^-s lies in lambda [1 - y, 1 + x] there. So ln rho <= ln(1 + x) - ln(1 - y) where y < 1.
2. P'/P - 1 = (P' - P) e^-s / (P e^-s), at most max |P' - P| e^-s / (lambda (1 - y)).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from approxattn._arguments import check_number
from approxattn._arrays import HostArray
from approxattn.bounds.rounding import U64, up
from approxattn.exponential.given_majorants import majorants_of, scaled_difference
from approxattn.exponential.majorants import (
    Difference,
    Majorants,
    largest_ratio,
    values_at,
)
from approxattn.exponential.one_sided import on_the_grid
from approxattn.exponential.polynomial import ExpPolynomial, MomentBound
from approxattn.exponential.running import Running
from approxattn.exponential.taylor import MAX_DEGREE


def given_polynomial(
    coefficients: tuple[float, ...], half_range: float, deviation: float
) -> ExpPolynomial:
    """Return P with what is sure of it for scores of at most `half_range`, with about that standard
    deviation. Where nothing is, `log_ratio` and the bound by moments are inf.
    """
    wide, spread = on_the_grid(half_range, deviation)
    used, found = majorants_of(coefficients, wide, spread)
    ratio = _ratio(coefficients, wide)
    return ExpPolynomial(
        basis="given",
        coefficients=coefficients,
        half_range=half_range,
        at_floor=False,
        log_ratio=ratio.log.at,
        slope_error=ratio.slope.at,
        moments=MomentBound(degrees=used[1:], weigh=functools.partial(_weigh, found))
        if found
        else None,
    )


def _weigh(
    found: tuple[Majorants, ...], bound: HostArray, moments: HostArray, slack: HostArray
) -> HostArray:
    """Return the bound of `MomentBound`: the least over all majorants that serve a row."""
    best = np.full(np.shape(bound), np.inf)
    for item in found:
        best = np.minimum(best, item.weigh(bound, moments, slack))
    return best


def given_over(coefficients: tuple[float, ...], half_range: float) -> ExpPolynomial:
    """Return P where nothing is known of the scores but their range: the bound by lengths of random
    tokens is some five times their deviation (*chosen*).
    """
    return given_polynomial(coefficients, half_range, half_range / 5)


def check_coefficients(given: object) -> tuple[float, ...]:
    """Return coefficients that a user gave as floats.

    Raises TypeError unless they are a list of real numbers, ValueError unless these are finite, not
    all 0, and at most 151.
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        msg = (
            f"coefficients(={given!r}) must be a sequence of numbers c_0, c_1 ..., not "
            f"{type(given).__name__}"
        )
        raise TypeError(msg)
    found = tuple(
        check_number(f"coefficients[{t}]", c, "be a finite number", low=-math.inf, high=math.inf)
        for t, c in enumerate(given)
    )
    if not 1 <= len(found) <= MAX_DEGREE + 1:
        msg = (
            f"coefficients(={len(found)} of them) must be c_0 ... c_g with a degree g in "
            f"[0, {MAX_DEGREE}]: give at least one, and no more than that"
        )
        raise ValueError(msg)
    if not any(found):
        msg = (
            f"coefficients(={found}) must not all be 0: no row would have weights; "
            "(1, 1, 0.5) is the Taylor polynomial of degree 2"
        )
        raise ValueError(msg)
    return found


@dataclass(frozen=True, kw_only=True)
class _Ratio:
    """ln rho and max |P'/P - 1| over [-b, b]; inf where nothing is known."""

    log: Running
    slope: Running


@functools.lru_cache(maxsize=64)
def _ratio(coefficients: tuple[float, ...], half_range: float) -> _Ratio:
    """Return steps 1 and 2 up to a half range."""
    if not coefficients[0] > 0:
        nothing = Running.of(np.array([half_range]), np.array([np.inf]))
        return _Ratio(log=nothing, slope=nothing)
    scale = coefficients[0]
    delta = scaled_difference(coefficients, scale, half_range)
    with np.errstate(all="ignore"):
        ends, x = _relative(delta.coefficients, delta, half_range)
        y = _relative(-delta.coefficients, delta, half_range)[1]
        x, y = up(x / scale), up(y / scale)
        below = np.where(y < 1, 1 - y, np.nan) * (1 - 4 * U64)
        log_ratio = up(np.log1p(x) - np.log(below))
        # P' - P: its coefficients round twice
        c = np.asarray(coefficients)
        slopes = np.append(c[1:] * np.arange(1.0, c.size), 0.0)
        error = Difference(
            coefficients=slopes - c, slack=2 * U64 * (np.abs(slopes) + np.abs(c)), tail=0.0
        )
        both = [_relative(sign * error.coefficients, error, half_range) for sign in (1.0, -1.0)]
        apart = np.maximum(both[0][1], both[1][1])
        slope = _at_least(both[0][0], apart, ends) / (scale * below)
    log_ratio, slope = (np.where(np.isfinite(x), x, np.inf) for x in (log_ratio, up(slope)))
    return _Ratio(
        log=Running.of(ends, log_ratio, beyond=math.inf),
        slope=Running.of(ends, slope, beyond=math.inf),
    )


def _relative(
    coefficients: HostArray, error: Difference, half_range: float
) -> tuple[HostArray, HostArray]:
    """Return b_0 < b_1 < ... = B and bounds, at least 0, on max f(s) e^-s over [-b_k, b_k] for the
    polynomial f, whose coefficients are off by the slack and the tail of `error`.
    """
    ends, ratio = largest_ratio(coefficients, half_range)
    lost = (values_at(error.slack, ends) + error.tail) * np.exp(ends) * (1 + 1e-12)
    return ends, up(np.maximum(ratio, 0.0) + lost)


def _at_least(ends: HostArray, values: HostArray, wanted: HostArray) -> HostArray:
    """Return increasing values, known at `ends`, at the next end beyond those wanted."""
    return np.asarray(values[np.minimum(np.searchsorted(ends, wanted), ends.size - 1)])
