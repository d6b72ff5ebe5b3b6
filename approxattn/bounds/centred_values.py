"""Values shifted to the middle of their range, for methods whose weights sum to 1.

Symbols. c is about the mid-range of each column of V, in the dtype computed in; u is the unit
roundoff of that dtype, w its smallest normal number; T is the largest |v - c|, C the largest |c|.
out(V) is the output for values V, by softmax attention or by a method.

1. Weights that sum to 1 give out(V) = out(V - c) + c, exactly, for both. So the error is that for
   V - c, whose rounding scales with half of the oscillation and not with max|V|.
2. v - c rounds by at most u T in each entry, and softmax attention of it moves by as much.
3. Adding c rounds by at most u (C + T + b), b the bound that the result has.
4. So u (2 T + C + b) + 2 w covers both.

Where the mid-range is no larger than the oscillation nothing is gained, and nothing is done.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn._arrays.crossing import at_hand
from approxattn._problem import Problem
from approxattn._problem.outline import outline
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import value_spread
from approxattn.certificate import Approximation, Certificate


def middle_of(problem: Problem) -> Array | None:
    """Return c, shape (..., 1, dv), 0 for columns about 0; None if all are."""
    high, low = problem.value_range
    middle, width = high / 2 + low / 2, high - low
    far = np.abs(middle) > width
    if not np.any(far):
        return None
    host = np.where(far, middle, 0.0)[..., None, :]
    return _arrays.cast(_arrays.from_host(host, problem.v), problem.dtype, problem.xp)


def with_values_about_0(problem: Problem, middle: Array) -> Problem:
    """Return the problem with V - c."""
    return replace(problem, v=problem.shown(problem.v - middle))


def moved_back(result: Approximation, middle: Array, shifted: Problem) -> Approximation:
    """Return out(V) from out(V - c), with what that rounds in the certificate."""
    if not shifted.certify:
        return replace(result, value=result.value + middle)
    certificate = result.certificate.then(_with_shift, at_hand(middle), outline(shifted))
    return replace(result, value=result.value + middle, certificate=certificate)


def _with_shift(certificate: Certificate, middle: Array, shifted: Problem) -> Certificate:
    """Return the certificate with step 4."""
    rows, u = certificate.rows, _arrays.unit_roundoff(shifted.dtype)
    size = np.max(np.abs(_arrays.to_host(middle)), axis=(-2, -1), initial=0.0)[..., None]
    with np.errstate(invalid="ignore", over="ignore"):
        added = u * (2 * value_spread(shifted).top[..., None] + size + rows)
    rows = up(rows + added + 2 * _arrays.smallest_normal(shifted.dtype))
    return replace(certificate, rows=rows)
