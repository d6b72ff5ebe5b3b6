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
    xp = problem.xp
    top, bottom = (
        _arrays.cast(_arrays.from_host(end[..., None, :], value), problem.dtype, xp)
        for end in (high, low)
    )
    worst = xp.maximum(xp.max(value - bottom, axis=-1), xp.max(top - value, axis=-1))
    bound = _arrays.to_float64(worst)
    size = spread_of(high, low).top[..., None]
    least = problem.u * size + _arrays.smallest_normal(problem.dtype)
    size = up(np.maximum(bound, 0.0) * (1 + 2 * problem.u) + least)
    return np.where(np.isfinite(bound), size, np.inf)
