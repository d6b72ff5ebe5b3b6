"""The sums with fitted coefficients, as those of any polynomial: `forward` bounds their error.

Symbols. m, c and w_j as in `reduction`; k'_j = k_j less the mean of the visible keys, y_j = k'_j -
c, s_ij = beta (q_i - m) . y_j; u is the unit roundoff of the dtype of the sums, u' that of the
reduction. X, K and Y are the largest |q_i - m|, |k'_j| and |y_j|.

What was rounded before the sums (proved here).

1. k'_j is rounded once, and y_j made of it once more: an entry is off by u' of both.
2. q_i - m is rounded once. So the scores are off by at most 4 u' beta X (K + Y).
3. That is like scores off by as much: twice that joins ln rho.
4. q_i - m, y_j and w_j are then rounded to the dtype of the sums, once each: `forward` counts it.
5. ln w_j = beta m . k'_j less the largest of them: as in `centring`, with u' for what is computed
   in the reduction and u for the weight itself.
6. A weight below the smallest normal number is off by any part of itself. Then ln rho is inf.

Whatever m and c are, the shift is exact: their own errors do not count.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import HostArray, precision
from approxattn._arrays.crossing import placed
from approxattn._problem import Problem
from approxattn.bounds.rounding import EXP_ULPS, gamma, up
from approxattn.bounds.scores import row_lengths, row_norms, visible_max
from approxattn.methods.polynomials.centring import CentredScores, scores_of
from approxattn.methods.polynomials.choosing.plan import given_for
from approxattn.methods.polynomials.crossing.candidates import ShiftedQueries
from approxattn.methods.polynomials.fitting.reduction import ReducedScores
from approxattn.methods.polynomials.forward import Forward, forward


def fitted_sums(item: Problem, scores: CentredScores, coefficients: tuple[float, ...]) -> Forward:
    """Return the sums of one leading index with these coefficients."""
    polynomial = given_for(scores, coefficients)
    scores = scores.balanced_only()  # the caller keeps no other
    return forward(item, scores, polynomial)


def scores_of_reduction(item: Problem, reduced: ReducedScores) -> CentredScores:
    """Return the reduced scores of one leading index as `forward` takes them."""
    xp = item.xp
    queries, keys = reduced.narrow(item.dtype)
    weights, middle, centre = (
        _arrays.cast(x, item.dtype, xp) for x in (reduced.weights, reduced.middle, reduced.centre)
    )
    lengths, key_lengths = row_lengths(queries, xp), row_lengths(keys, xp)
    middle_length = row_norms(reduced.middle, xp)
    chosen = ShiftedQueries(
        queries=queries,
        middle=middle,
        centred=np.asarray(not item.causal),
        weights=None if item.causal else weights,
        lengths=lengths,
    )
    reach = visible_max(_arrays.to_host(key_lengths), item)[..., None]
    both = up((2 * reach + row_norms(reduced.centre, xp)) * (1 + 4 * item.u))  # K + Y
    error = 8 * _own_roundoff(reduced) * item.scale * np.max(_arrays.to_host(lengths)) * both
    if not item.causal:
        error = error + _weight_error(item, reduced, middle_length * both)
    return scores_of(
        item,
        chosen,
        keys,
        key_lengths=key_lengths,
        key_shift=centre,
        keys_centred=True,
        middle_length=placed(middle_length, lengths),
        weight_error=placed(up(error), lengths),
    )


def _own_roundoff(reduced: ReducedScores) -> float:
    return precision.unit_roundoff(reduced.weights)


def _weight_error(item: Problem, reduced: ReducedScores, products: HostArray) -> HostArray:
    """Return what steps 5 and 6 add to ln rho, given |m| K; shape (1,)."""
    xp, own, size = item.xp, _own_roundoff(reduced), item.scale * products
    eta = size * (2 * own + gamma(item.d + 6, own)) + (EXP_ULPS + 2 + 4 * size) * own + 2 * item.u
    seen = (
        reduced.weights
        if item.key_mask is None
        else xp.where(item.key_mask[..., None], reduced.weights, xp.ones_like(reduced.weights))
    )
    least = float(xp.min(seen))
    lost = least < 2 * _arrays.smallest_normal(item.dtype)
    return np.full_like(eta, np.inf) if lost else 2 * eta
