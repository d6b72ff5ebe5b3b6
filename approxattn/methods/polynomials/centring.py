"""Scores made small without changing attention: the shift of `shift` with means for m and c.

c is the mean of the visible keys. m is the mean of the queries where that shortens the longest
query, 0 elsewhere, for each leading index. Weights that spread over more than SPREAD in the log
would strain float32 (a causal row may see light keys only): there m = 0 too.

Symbols. s_ij = beta (q_i - m) . (k_j - c) are the centred scores, P(s) stands for exp(s). u is the
unit roundoff of the dtype computed in, u' and gamma' are those of float64. w is the smallest normal
number, and L = beta |m| max|k_j - c|.

T1 with weights (proved here).

1. Row i has the exact weights w_j exp(s_ij) and the approximate ones w_j P(s_ij).
2. Their ratios are P(s_ij) / exp(s_ij) whatever w is. So T1 and T2 hold with s for the scores.

Computed weights (proved here).

1. beta m . (k_j - c) is taken in float64 from keys centred in the dtype computed in.
2. Those keys are off by u in each entry, and so are the means that they are compared with: the
   exponent is off by at most L (2 u + gamma'_{d+6}).
3. Subtracting the largest exponent and exp itself add (EXP_ULPS + 2 + 4 L) u'; rounding the weight
   to the dtype computed in adds 2 u.
4. So |ln(w~_j / w_j)| <= eta, the sum of 2 and 3. That is like scores off by eta: it adds 2 eta to
   ln rho.
5. Where a library flushes small numbers to 0, an entry of q, k, q - m or k - c loses at most w.
   That moves a score by at most 2 beta d w (max|q_i - m| + max|k_j - c|), ln rho by twice that.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._arrays.crossing import at_hand, far, fetched, placed, space
from approxattn._problem import Problem
from approxattn.bounds.rounding import EXP_ULPS, U64, gamma, outward, up, whole_power
from approxattn.bounds.scores import key_centre, largest_visible, row_lengths
from approxattn.methods.polynomials.balance import Balanced, balanced
from approxattn.methods.polynomials.crossing.candidates import (
    Crossed,
    ShiftedQueries,
    choose_queries,
)
from approxattn.methods.polynomials.metric import score_bounds_of
from approxattn.methods.polynomials.shift import shift_keys

CENTRES = ("both", "keys", "none")


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What scores are bounded by, at hand.

    Attributes
    ----------
    lengths, middle_length : array, shapes (..., n_q), (..., 1)
        Bounds on |q_i - m| and |m|.
    key_lengths : array, shape (..., n_k), or None
        Bounds on |k_j - c|; None where single keys are not known.
    radius : array, shape (..., 1)
        Bound on the largest of them of a key that takes part.
    bound, size : array, shapes (..., n_q)
        B_i and R_i.
    log_error : array, shape (..., 1)
        What steps 4 and 5 add to ln rho.
    weights : array, shape (..., n_k), or None
        w_j; 0 for keys that take no part. None when all are 1.
    """

    lengths: Array
    middle_length: Array
    key_lengths: Array | None
    radius: Array
    bound: Array
    size: Array
    log_error: Array
    weights: Array | None


def _read(name: str) -> functools.cached_property[HostArray]:
    """Return the property that reads a number of `Reach` on the host."""

    def read(scores: CentredScores) -> HostArray:
        return _arrays.to_host(getattr(scores.reach, name))

    return functools.cached_property(read)


@dataclass(frozen=True, kw_only=True)
class CentredScores:
    """Queries and keys with small scores, and what they are bounded by.

    Attributes
    ----------
    queries, keys : array, shapes (..., n_q, d), (..., n_k, d)
        q - m and k - c; keys that take no part are 0.
    weights : array, shape (..., n_k, 1), or None
        w_j / max w, in the dtype computed in; None when all are 1.
    key_shift, middle : array, shape (..., 1, d)
        c and m.
    keys_centred : bool
        Whether c is the mean of the visible keys; 0 otherwise.
    centred : ndarray of bool, shape (...)
        Where m is the mean of the queries.
    reach : Reach
        What bounds are made of; `lengths`, `radius`, `middle_length`, `log_error`,
        `bound` (B_i >= |s_ij|) and `size` are these on the host. R_i >= beta |q_i - m| max|k_j - c|
        >= B_i: what the terms of a score may add up to.
    problem : Problem
        Whose scores they are, or its outline: it says which keys a row sees.
    scale : float
        beta.
    crossed : Crossed or None
        What is known on the host of queries and keys.
    """

    queries: Array
    keys: Array
    weights: Array | None
    key_shift: Array
    middle: Array
    keys_centred: bool
    centred: HostArray
    reach: Reach
    problem: Problem
    scale: float
    xp: Namespace
    crossed: Crossed | None = None

    lengths = _read("lengths")
    radius = _read("radius")
    middle_length = _read("middle_length")
    bound = _read("bound")
    size = _read("size")
    log_error = _read("log_error")

    @property
    def causal(self) -> bool:
        """Whether row i sees the keys up to i + n_k - n_q only."""
        return self.problem.causal

    @functools.cached_property
    def widest(self) -> tuple[HostArray, HostArray]:
        """Largest of `bound` and of `size`, shapes (...)."""
        return self.widest_and()[0]

    def widest_and(self, *others: Array) -> tuple[tuple[HostArray, HostArray], list[HostArray]]:
        """Return `widest`, and other numbers that cross together with it."""
        bound, size = self.reach.bound, self.reach.size
        ends = (space(x).max(x, axis=-1) for x in (bound, size))
        of_bound, of_size, *found = fetched(*ends, *others)
        vars(self)["widest"] = of_bound, of_size
        return self.widest, found

    @property
    def half_range(self) -> float:
        """Largest of `bound`."""
        return float(np.max(self.widest[0]))

    @functools.cached_property
    def total(self) -> HostArray:
        """Sum of the weights that each query sees, rounded up, shape (..., n_q)."""
        return _totals(self.problem, self.host_weights)

    @property
    def whole(self) -> Array:
        """About the sum of all weights, shape (..., 1), at hand."""
        like = self.reach.radius
        if not far(like):
            return np.max(self.total, axis=-1, keepdims=True, initial=0.0)
        weights, mask = self.reach.weights, self.problem.key_mask
        if weights is None and mask is None:
            return placed(np.full(like.shape, float(self.problem.n_k)), like)
        weights = at_hand(mask) if weights is None else weights
        return self.xp.sum(weights, axis=-1, keepdims=True)

    @functools.cached_property
    def host_weights(self) -> HostArray | None:
        """w_j on the host, shape (..., n_k); 0 for keys that take no part. None when all are 1."""
        return None if self.reach.weights is None else _arrays.to_host(self.reach.weights)

    @functools.cached_property
    def key_shares(self) -> HostArray:
        """|k_j - c| over the largest of them, rounded up, shape (..., n_k); at most 1, and 0 for
        keys that take no part.
        """
        return _shares(_arrays.to_host(self.reach.key_lengths), self.radius, self.problem)

    @functools.cached_property
    def balanced(self) -> Balanced:
        """Queries and keys as the kernels take them."""
        tops = None if self.crossed is None else self.crossed.tops
        return balanced(self.queries, self.keys, self.scale, self.xp, tops)

    def balanced_only(self) -> CentredScores:
        """Return the scores with `balanced`, but without queries and keys: as large as the input,
        and needed by gradients alone.
        """
        # a view would hold the whole
        queries, keys = (self.xp.zeros_like(x[..., :0, :]) for x in (self.queries, self.keys))
        found = replace(self, queries=queries, keys=keys)
        vars(found)["balanced"] = self.balanced
        return found

    def power(self, t: int) -> HostArray:
        """Return R_i^t K_t of `forward`, rounded up, shape (..., n_q)."""
        with np.errstate(over="ignore", under="ignore"):
            return up(whole_power(self.size, t) * self._key_powers(t)[t])

    def absolute(self, coefficients: tuple[float, ...]) -> HostArray:
        """Return sum_t |c_t| R_i^t K_t, shape (..., n_q)."""
        total = np.zeros_like(self.size)
        with np.errstate(over="ignore", invalid="ignore"):
            sums = self._key_powers(len(coefficients) - 1)
            for t in reversed(range(len(coefficients))):
                total = total * self.size + abs(coefficients[t]) * sums[t]
        return up(total)

    def _key_powers(self, degree: int) -> list[HostArray]:
        """Return K_t = sum_j w_j (|k_j| / max|k_j|)^t over the keys a row sees, rounded up, for t =
        0 ... degree at least, shapes (..., n_q) or (..., 1).
        """
        found, terms = self._found_powers
        while len(found) <= degree:
            last = terms[0]
            powers = self.key_shares if last is None else last * self.key_shares
            grow = 1 + gamma(powers.shape[-1] + len(found), U64)
            if self.causal:
                sums = np.cumsum(powers, axis=-1)[..., self.problem.earlier :]
                sums = self.problem.of_heads(sums)
            else:
                sums = np.sum(powers, axis=-1, keepdims=True)
            found.append(np.minimum(sums * grow, found[0]))
            terms[0] = powers
        return found

    @functools.cached_property
    def _found_powers(self) -> tuple[list[HostArray], list[HostArray | None]]:
        """K_t as far as anybody has asked, and the terms of the last of them; None is 1."""
        return [self.total if self.causal else self.total[..., :1]], [self.host_weights]


def centred_keys(problem: Problem, centre: str) -> tuple[Array, Array]:
    """Return the keys as `centre` has them, and what was subtracted from them."""
    shift = key_centre(problem)
    shift = problem.xp.zeros_like(shift) if centre == "none" else shift
    return shift_keys(problem, shift, problem.dtype), shift


def centre_scores(problem: Problem, centre: str = "both") -> CentredScores:
    """Return the centred scores; `centre` "keys" leaves the queries as they are, "none" the keys
    too.
    """
    keys, shift = centred_keys(problem, centre)
    key_lengths = row_lengths(keys, problem.xp)
    chosen = choose_queries(problem, keys, centre=centre == "both", key_lengths=key_lengths)
    radius = largest_visible(key_lengths, problem)[..., None]
    middle_length, error = (placed(np.zeros((*problem.batch, 1)), radius) for _ in range(2))
    if np.any(chosen.centred):
        middle_length = row_lengths(chosen.middle, problem.xp)
        on = placed(chosen.centred[..., None], radius)
        error = space(radius).where(on, _weight_error(problem, middle_length, radius), error)
    return scores_of(
        problem,
        chosen,
        keys,
        key_lengths=key_lengths,
        key_shift=shift,
        keys_centred=centre != "none",
        middle_length=middle_length,
        weight_error=error,
    )


def scores_of(
    problem: Problem,
    chosen: ShiftedQueries,
    keys: Array,
    *,
    key_lengths: Array,
    key_shift: Array,
    keys_centred: bool,
    middle_length: Array,
    weight_error: Array,
) -> CentredScores:
    """Return the scores of shifted queries and keys, in the dtype computed in.

    All numbers are at hand: `key_lengths`, shape (..., n_k), bounds the lengths of the keys,
    `middle_length` that of m; `weight_error`, shape (..., 1), is what step 4 and whatever was
    rounded before add to ln rho.
    """
    radius = largest_visible(key_lengths, problem)[..., None]
    moments = None if chosen.crossed is None else chosen.crossed.moments
    lengths = chosen.lengths, key_lengths
    bound, size = (
        outward(x * (1 + 6 * problem.u))
        for x in score_bounds_of(chosen.queries, keys, problem, *lengths, moments)
    )  # centring rounds both
    weights = chosen.weights
    return CentredScores(
        queries=chosen.queries,
        keys=keys,
        weights=weights,
        key_shift=key_shift,
        middle=chosen.middle,
        keys_centred=keys_centred,
        centred=chosen.centred,
        reach=Reach(
            lengths=chosen.lengths,
            middle_length=middle_length,
            key_lengths=key_lengths,
            radius=radius,
            bound=bound,
            size=size,
            log_error=outward(weight_error + _flushed(problem, chosen.lengths, radius)),
            weights=None if weights is None else at_hand(weights[..., 0]),
        ),
        problem=problem,
        scale=problem.scale,
        xp=problem.xp,
        crossed=chosen.crossed,
    )


def _weight_error(problem: Problem, middle_length: Array, radius: Array) -> Array:
    """Return 2 eta of step 4, shape (..., 1)."""
    size, u = problem.scale * middle_length * radius, problem.u
    eta = size * (2 * u + gamma(problem.d + 6, U64)) + (EXP_ULPS + 2 + 4 * size) * U64 + 2 * u
    return outward(2 * eta)


def _flushed(problem: Problem, lengths: Array, radius: Array) -> Array:
    """Return what step 5 adds to ln rho, shape (..., 1)."""
    longest = space(lengths).max(lengths, axis=-1, keepdims=True)
    tiny = _arrays.smallest_normal(problem.dtype)
    return outward(4 * problem.scale * problem.d * tiny * (longest + radius))


def _shares(key_lengths: HostArray, radius: HostArray, problem: Problem) -> HostArray:
    """Return |k_j| / max|k_j|, rounded up, shape (..., n_k); 0 for keys that take no part."""
    if problem.key_mask is not None:
        key_lengths = np.where(_arrays.to_host(problem.key_mask), key_lengths, 0.0)
    safe = np.where(radius > 0, radius, 1.0)
    return np.minimum(key_lengths / safe * (1 + 4 * U64), 1.0)


def _totals(problem: Problem, of_keys: HostArray | None) -> HostArray:
    if of_keys is None:
        return problem.visible_keys.astype(np.float64)
    grow = 1 + gamma(problem.n_k, U64)
    if problem.causal:
        return up(problem.of_heads(np.cumsum(of_keys, axis=-1)[..., problem.earlier :]) * grow)
    total = np.sum(of_keys, axis=-1, keepdims=True) * grow
    return np.broadcast_to(up(total), (*problem.batch, problem.n_q))
