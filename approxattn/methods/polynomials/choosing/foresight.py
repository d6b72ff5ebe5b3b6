"""What a polynomial would be worth, from the scores of a few rows: how a degree is chosen.

Nothing here enters a certificate. The rows with the largest mean square scores, and some evenly
spaced ones, are looked at against evenly spaced keys; the sums of the pass itself say afterwards
whether the choice was right.

Symbols as in `forward`. S = sum_j w_j k_j k_j^T, so that beta^2 q_i^T S q_i / W is the mean square
score of row i (of all keys, also under a causal mask).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._arrays.crossing import space
from approxattn._problem import Problem
from approxattn.bounds.scores import products_at_hand
from approxattn.exponential import ExpPolynomial, exp_polynomial, one_sided
from approxattn.exponential.majorants import WIDEST
from approxattn.exponential.one_sided import MAX_DEGREE
from approxattn.methods.polynomials.centring import CentredScores
from approxattn.softmax.rows import choose

MOMENT_BASES = ("taylor", "one-sided")
"""Those of whose errors moments say more than the range of the scores."""

MARGIN = 1.1
"""What is foreseen of the largest error is multiplied by this. *Chosen*: other rows are a little
worse than those looked at, and a refused pass costs as much as a good one.
"""

ROWS, KEYS = 32, 1024
"""Sampled of each leading index, half of the rows by their mean square. *Chosen*: some
milliseconds.
"""

SPACED = 2048
"""Rows and keys, at least, that a deviation alone is taken from where there are more. *Chosen*:
it is rounded up by more than their choice changes it.
"""

TYPICAL = 0.98
"""Share of the rows whose mean square score is at most that of the normal distribution a
polynomial is made for. *Chosen*: the rows above it have the largest errors, and few are above.
"""


@dataclass(frozen=True, kw_only=True)
class Foresight:
    """Sampled scores of all leading indices, on the host.

    Attributes
    ----------
    scores, weights : ndarray, shape (rows, keys)
        s_ij, and w_j or 0 where row i does not see key j.
    bound : ndarray, shape (rows,)
        B_i.
    deviation : float
        Root of the mean square score of a row, of nearly all rows at most.
    """

    scores: HostArray
    weights: HostArray
    bound: HostArray
    deviation: float

    def largest_error(self, polynomial: ExpPolynomial) -> float:
        """Return about the largest mu of T5 of the rows looked at; inf where it says nothing."""
        if polynomial.moments is None or not self.scores.size:
            return np.inf
        used = (0, *polynomial.moments.degrees)
        with np.errstate(all="ignore"):
            moments = np.stack([self._moment(t) for t in used], axis=-1)
            total = polynomial.moments.weigh(self.bound, moments, np.zeros_like(moments))
            value = np.zeros_like(self.scores)
            for c in reversed(polynomial.coefficients):
                value = value * self.scores + c
            denominator = np.sum(self.weights * value, axis=-1)
            mu = total / np.where(denominator > 0, denominator, np.nan)
        seen = np.sum(self.weights, axis=-1) > 0
        return float(np.max(np.where(np.isnan(mu), np.inf, mu)[seen], initial=0.0))

    def _moment(self, t: int) -> HostArray:
        return np.asarray(np.sum(self.weights * self.scores**t, axis=-1))


def foresee(problem: Problem, scores: CentredScores) -> Foresight:
    """Look at some rows of every leading index."""
    xp, tokens = problem.xp, scores.balanced
    sums = tokens.queries, tokens.keys, scores.weights, scores.whole
    square = _arrays.to_host(_mean_squares(*sums, xp))
    rows, columns = _rows(square, problem), choose(problem.n_k, KEYS, None)
    right = xp.take(tokens.keys, _arrays.from_host(columns, tokens.keys), axis=-2)
    left = np.take_along_axis(_arrays.to_float64(tokens.queries), rows[..., None], axis=-2)
    found = left @ np.swapaxes(_arrays.to_float64(right), -1, -2)
    weights = _weights(problem, scores, rows, columns)
    bound = np.take_along_axis(np.broadcast_to(scores.bound, square.shape), rows, axis=-1)
    wide = columns.size
    return Foresight(
        scores=found.reshape(-1, wide),
        weights=weights.reshape(-1, wide),
        bound=bound.reshape(-1),
        deviation=_typical(square),
    )


def typical_deviation(scores: CentredScores) -> float:
    """Return about `Foresight.deviation` alone, from some rows and keys."""
    tokens, weights = scores.balanced, scores.weights
    q, k = (x[..., :: max(1, x.shape[-2] // SPACED), :] for x in (tokens.queries, tokens.keys))
    if weights is not None:
        weights = weights[..., :: max(1, weights.shape[-2] // SPACED), :]
    share = k.shape[-2] / tokens.keys.shape[-2]
    square = _mean_squares(q, k, weights, scores.whole * share, scores.xp)
    return _typical(square) if isinstance(square, np.ndarray) else _typical_far(square, scores)


def _typical(square: HostArray) -> float:
    return _root(float(np.quantile(square, TYPICAL)) if square.size else 0.0)


def _typical_far(square: Array, scores: CentredScores) -> float:
    """Return the same: two numbers cross, together with those that the half range is taken from."""
    xp, n = scores.xp, math.prod(square.shape)
    if not n:
        return 0.0
    ordered, place = xp.sort(xp.reshape(square, (-1,))), (n - 1) * TYPICAL
    ends = ordered[math.floor(place)], ordered[math.ceil(place)]
    low, high = (float(x) for x in scores.widest_and(*ends)[1])
    return _root(low + (high - low) * (place - math.floor(place)))


def _root(found: float) -> float:
    return math.sqrt(max(found, 0.0)) if math.isfinite(found) else math.inf


def least_degree(
    foresight: Foresight, half_range: float, tolerance: float, basis: str
) -> int | None:
    """Return the lowest degree of a basis of `MOMENT_BASES` that is foreseen to keep a tolerance;
    None if none does.
    """
    if not half_range <= WIDEST:
        return None
    for g in range(1 if basis == "one-sided" else 2, MAX_DEGREE + 1):
        if basis == "taylor" and g % 2:
            continue
        if basis == "taylor":
            polynomial = exp_polynomial(g, half_range, basis)
        else:
            polynomial = one_sided(g, half_range, foresight.deviation)
        if MARGIN * foresight.largest_error(polynomial) <= tolerance:
            return g
    return None


def _mean_squares(
    queries: Array, keys: Array, weights: Array | None, whole: Array, xp: Namespace
) -> Array:
    """Return beta^2 q_i^T S q_i / W, shape (..., n_q), not negative, at hand, given W, shape
    (..., 1), at hand.
    """
    weighted = keys if weights is None else keys * weights
    along = products_at_hand(
        xp.matmul(queries, xp.matmul(xp.matrix_transpose(weighted), keys)), queries, xp
    )
    own = space(along)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = along / whole
        return own.where(ratio > 0, ratio, own.zeros_like(ratio))  # NaN is 0


def _rows(square: HostArray, problem: Problem) -> HostArray:
    """Return the rows to look at, shape (..., rows)."""
    if problem.n_q <= ROWS:
        return np.broadcast_to(np.arange(problem.n_q), square.shape).copy()
    largest = np.argpartition(square, -(ROWS // 2), axis=-1)[..., -(ROWS // 2) :]
    spaced = choose(problem.n_q, ROWS - ROWS // 2, None)
    return np.concatenate(
        [largest, np.broadcast_to(spaced, (*square.shape[:-1], spaced.size))], axis=-1
    )


def _weights(
    problem: Problem, scores: CentredScores, rows: HostArray, columns: HostArray
) -> HostArray:
    """Return w_j where row i sees key j, 0 elsewhere, shape (..., rows, columns)."""
    shape = (*problem.batch, rows.shape[-1], columns.size)
    weights = np.ones(shape)
    if scores.host_weights is not None:
        weights = weights * scores.host_weights[..., None, columns]
    elif problem.key_mask is not None:
        weights = weights * _arrays.to_host(problem.key_mask)[..., None, columns]
    if problem.causal:
        weights = weights * (columns <= rows[..., None] + problem.earlier)
    return weights
