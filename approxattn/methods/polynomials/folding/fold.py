"""Keys and values made into the sums of a `PolynomialState`."""

from __future__ import annotations

import math

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn._problem.time_needed import PRODUCT, SCORE, check_time
from approxattn.bounds.scores import spread_of
from approxattn.exponential import ExpPolynomial
from approxattn.monomials.index import rank
from approxattn.monomials.kernel import largest_partial_sum
from approxattn.monomials.memory import refuse_memory, state_bytes


def centre_of(centre: Array | None, problem: Problem) -> Array:
    """Return the centre of the keys, shape (..., 1, d), in the dtype computed in; 0 if none is
    given.
    """
    xp, shape = problem.xp, (*problem.batch, 1, problem.d)
    if centre is None:
        return xp.zeros(shape, dtype=problem.k.dtype, device=_arrays.device(problem.k))
    _arrays.namespace(k=problem.k, centre=centre)
    _arrays.compute_dtype_name(centre, "centre")
    try:
        fits = np.broadcast_shapes(tuple(centre.shape), shape) == shape
    except ValueError:
        fits = False
    if not fits:
        msg = (
            f"centre has shape {tuple(centre.shape)}: it must broadcast to {shape}, one vector of "
            "the width of the keys for each leading index"
        )
        raise ValueError(msg)
    centre = _arrays.cast(centre, problem.dtype, xp)
    if not bool(xp.all(xp.isfinite(centre))):
        msg = f"centre holds NaN or infinity in {problem.dtype}: give finite numbers, or no centre"
        raise ValueError(msg)
    return _arrays.contiguous(xp.broadcast_to(centre, shape))


def announce(problem: Problem, degree: int, sides: int = 1) -> None:
    """Refuse states that would not fit the memory or would take minutes, before any work; `sides`
    states for each leading index.
    """
    columns, items = problem.dv + 1, sides * items_of(problem)
    remedy = "lower the degree, or project queries and keys to a smaller width"
    what = f"a state of degree {degree} for keys of width {problem.d}"
    width = 8 if problem.dtype == "float64" else 4
    refuse_memory(what, state_bytes(problem.d, degree, columns, items, width), remedy)
    features = items * problem.n_k * rank(problem.d, degree)
    seconds = features * (columns * PRODUCT + SCORE / 5)
    remedy += ", or take fewer keys in a call"
    check_time("degree", degree, seconds, f"{what}, {problem.n_k} of them,", remedy)


def items_of(problem: Problem) -> int:
    """Return the number of leading indices."""
    return math.prod(problem.batch)


def refuse_large_sums(
    polynomial: ExpPolynomial,
    problem: Problem,
    largest: tuple[float, float],
    keys: HostArray,
    ends: tuple[HostArray, HostArray],
) -> None:
    """Refuse sums that could overflow the dtype; `largest` are the largest entries of scaled
    queries and centred keys.
    """
    m_x, m_y = largest
    seen = keys[..., None] > 0
    high, low = (np.where(seen, end, 0.0) for end in ends)
    top = max(1.0, float(np.max(spread_of(high, low).top, initial=0.0)))
    terms = float(np.max(keys, initial=0))
    size = largest_partial_sum(polynomial.coefficients, problem.d, m_x, m_y) * terms * top
    if not size < _arrays.largest(problem.dtype) / 16:
        msg = (
            f"entries of up to {m_x:.3g} (scaled queries) and {m_y:.3g} (centred keys) can make "
            f"sums of {size:.3g}, which overflows {problem.dtype}: lower the degree, centre or "
            "rescale the keys, or use float64"
        )
        raise ValueError(msg)
