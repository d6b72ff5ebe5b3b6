"""What is sure of any output: softmax attention is a mean of the values, so each column of it lies
between the column's least and largest visible value.

Hence |out_c - exact_c| <= max(out_c - min V_:c, max V_:c - out_c), whatever `out` is. The two
differences round once each; a unit of rounding of the largest value is added, *chosen*, so that no
bound is 0 where the exact answer can only be enclosed.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.crossing import at_hand, far
from approxattn._problem import Problem
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import spread_of


def range_bound(value: Array, problem: Problem) -> HostArray:
    """Return the bound on the largest error of each row of `value`, shape (..., n_q, dv) -> (...,
    n_q); inf where it is not finite.
    """
    return range_bound_of(value, *problem.value_range, problem)


def range_bound_of(value: Array, high: HostArray, low: HostArray, problem: Problem) -> HostArray:
    """Return that for other values than the problem's, whose columns have these ends, shapes
    (..., dv).
    """
    reach = _arrays.to_float64(_reach(value, high, low, problem))
    return bound_from_reach(reach, high, low, problem)


def value_reach(value: Array, high: Array, low: Array, problem: Problem) -> Array:
    """Return the largest distance of each row of `value` from these ends, which may be far, shape
    (..., n_q), at hand: what the bound needs of `value`.
    """
    return at_hand(_reach(value, high, low, problem))


def _reach(value: Array, high: Array, low: Array, problem: Problem) -> Array:
    xp = problem.xp
    top, bottom = (_ends_like(value, end[..., None, :], problem) for end in (high, low))
    return xp.maximum(xp.max(value - bottom, axis=-1), xp.max(top - value, axis=-1))


def bound_from_reach(reach: Array, high: HostArray, low: HostArray, problem: Problem) -> HostArray:
    """Return the bound from `value_reach`."""
    bound = _arrays.to_host(reach)
    size = spread_of(high, low).top[..., None]
    least = problem.u * size + _arrays.smallest_normal(problem.dtype)
    size = up(np.maximum(bound, 0.0) * (1 + 2 * problem.u) + least)
    return np.where(np.isfinite(bound), size, np.inf)


def known_ends(problem: Problem) -> tuple[Array, Array]:
    """Return the ends of the values of a problem where they are: on the host if they have been
    looked at.
    """
    known = vars(problem).get("value_range")
    return problem.value_ends if known is None else known


def _ends_like(value: Array, end: Array, problem: Problem) -> Array:
    here = end if far(end) else _arrays.from_host(end, value)
    return _arrays.cast(here, problem.dtype, problem.xp)
