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
import math
from dataclasses import dataclass, replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem import Problem
from approxattn.bounds.rounding import EXP_ULPS, U64, gamma, up, whole_power
from approxattn.bounds.scores import key_centre, query_norms, row_norms, visible_max
from approxattn.methods.polynomials.balance import Balanced, balanced
from approxattn.methods.polynomials.metric import score_bounds_of
from approxattn.methods.polynomials.shift import log_weights, shift_keys

CENTRES = ("both", "keys", "none")

GAIN = 0.95
"""Longest centred query over longest query below which queries are centred. *Chosen*: weights cost
a little, so they must gain something.
"""

NEAR = 0.8 * (1 - GAIN)
"""A mean that short can shorten no query by that much, rounding included."""

SPREAD = 20.0
"""*Chosen*: e^-20 is far from underflow in float32, also where sums are divided by it."""


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
    lengths, radius, middle_length : ndarray, shapes (..., n_q), (..., 1), (..., 1)
        Bounds on |q_i - m|, max|k_j - c| and |m|, on the host.
    bound : ndarray, shape (..., n_q)
        B_i >= |s_ij|, on the host.
    size : ndarray, shape (..., n_q)
        R_i >= beta |q_i - m| max|k_j - c| >= B_i: what the terms of a score may add up to.
    total : ndarray, shape (..., n_q)
        Sum of the weights that each query sees, rounded up.
    log_error : ndarray, shape (..., 1)
        What steps 4 and 5 add to ln rho.
    causal : bool
        Whether row i sees the keys up to i + n_k - n_q only.
    heads : int
        As in `Problem`.
    key_shares : ndarray, shape (..., n_k)
        |k_j - c| over the largest of them, rounded up; at most 1.
    host_weights : ndarray, shape (..., n_k), or None
        w_j on the host; 0 for keys that take no part. None when all are 1.
    scale : float
        beta.
    """

    queries: Array
    keys: Array
    weights: Array | None
    key_shift: Array
    middle: Array
    keys_centred: bool
    centred: HostArray
    lengths: HostArray
    radius: HostArray
    middle_length: HostArray
    bound: HostArray
    size: HostArray
    total: HostArray
    log_error: HostArray
    causal: bool
    key_shares: HostArray
    host_weights: HostArray | None
    scale: float
    xp: Namespace
    heads: int = 1

    @functools.cached_property
    def balanced(self) -> Balanced:
        """Queries and keys as the kernels take them."""
        return balanced(self.queries, self.keys, self.scale, self.xp)

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
                positions = self.size.shape[-1] // self.heads
                sums = np.cumsum(powers, axis=-1)[..., powers.shape[-1] - positions :]
                sums = np.tile(sums, self.heads) if self.heads > 1 else sums
            else:
                sums = np.sum(powers, axis=-1, keepdims=True)
            found.append(np.minimum(sums * grow, found[0]))
            terms[0] = powers
        return found

    @functools.cached_property
    def _found_powers(self) -> tuple[list[HostArray], list[HostArray | None]]:
        """K_t as far as anybody has asked, and the terms of the last of them; None is 1."""
        return [self.total if self.causal else self.total[..., :1]], [self.host_weights]


@dataclass(frozen=True, kw_only=True)
class ShiftedQueries:
    """Queries less their mean where that pays, and the weights of the keys, as in
    `CentredScores`.
    """

    queries: Array
    middle: Array
    centred: HostArray
    weights: Array | None
    lengths: HostArray


def shifted(problem: Problem, centre: str) -> tuple[ShiftedQueries, Array, Array]:
    """Return queries and keys as `centre` has them, and the centre of the keys."""
    shift = key_centre(problem)
    shift = problem.xp.zeros_like(shift) if centre == "none" else shift
    keys = shift_keys(problem, shift, problem.dtype)
    chosen = _centred_queries(problem, keys) if centre == "both" else _queries_as_given(problem)
    return chosen, keys, shift


def centre_scores(problem: Problem, centre: str = "both") -> CentredScores:
    """Return the centred scores; `centre` "keys" leaves the queries as they are, "none" the keys
    too.
    """
    chosen, keys, shift = shifted(problem, centre)
    middle_length = np.zeros((*problem.batch, 1))
    if np.any(chosen.centred):
        middle_length = row_norms(chosen.middle, problem.xp)
    key_lengths = row_norms(keys, problem.xp)
    radius = visible_max(key_lengths, problem)[..., None]
    error = np.where(chosen.centred[..., None], _weight_error(problem, middle_length, radius), 0.0)
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
    key_lengths: HostArray,
    key_shift: Array,
    keys_centred: bool,
    middle_length: HostArray,
    weight_error: HostArray,
) -> CentredScores:
    """Return the scores of shifted queries and keys, in the dtype computed in.

    `key_lengths`, shape (..., n_k), bounds the lengths of the keys, `middle_length` that of m;
    `weight_error`, shape (..., 1), is what step 4 and whatever was rounded before add to ln rho.
    """
    radius = visible_max(key_lengths, problem)[..., None]
    bound, size = (
        up(x * (1 + 6 * problem.u))
        for x in score_bounds_of(chosen.queries, keys, problem, chosen.lengths, key_lengths)
    )  # centring rounds both
    return CentredScores(
        queries=chosen.queries,
        keys=keys,
        weights=chosen.weights,
        key_shift=key_shift,
        middle=chosen.middle,
        keys_centred=keys_centred,
        centred=chosen.centred,
        lengths=chosen.lengths,
        radius=radius,
        middle_length=middle_length,
        bound=bound,
        size=size,
        total=_totals(problem, chosen.weights),
        causal=problem.causal,
        heads=problem.heads,
        key_shares=_shares(key_lengths, radius, problem),
        host_weights=_on_host(chosen.weights),
        log_error=up(weight_error + _flushed(problem, chosen.lengths, radius)),
        scale=problem.scale,
        xp=problem.xp,
    )


def _queries_as_given(problem: Problem) -> ShiftedQueries:
    return ShiftedQueries(
        queries=problem.q,
        middle=problem.xp.zeros_like(problem.k[..., :1, :]),
        centred=np.zeros(problem.batch, bool),
        weights=None,
        lengths=query_norms(problem),
    )


def _centred_queries(problem: Problem, keys: Array) -> ShiftedQueries:
    """Centre the queries of the leading indices where that pays."""
    xp, queries, given = problem.xp, problem.q, _queries_as_given(problem)
    mean = _arrays.mean_of_rows(queries, xp)
    reach = math.sqrt(problem.d) * _arrays.to_float64(_arrays.largest_size(mean, xp))
    if np.all(reach <= NEAR * np.max(given.lengths, axis=-1)):
        return given
    shifted = queries - mean
    lengths = row_norms(shifted, xp)
    shorter = np.max(lengths, axis=-1) < GAIN * np.max(given.lengths, axis=-1)
    if not np.any(shorter):
        return given
    logs = log_weights(problem, keys, mean)
    centred = np.asarray(shorter & _narrow(problem, logs))
    if not np.any(centred):
        return given
    on = _arrays.from_host(centred[..., None, None], queries)
    plain = xp.zeros_like(logs)
    if problem.key_mask is not None:
        plain = xp.where(problem.key_mask[..., None], plain, xp.full_like(logs, -xp.inf))
    return ShiftedQueries(
        queries=xp.where(on, shifted, queries),
        middle=xp.where(on, mean, given.middle),
        centred=centred,
        weights=_arrays.cast(xp.exp(xp.where(on, logs, plain)), problem.dtype, xp),
        lengths=np.where(centred[..., None], lengths, given.lengths),
    )


def _narrow(problem: Problem, logs: Array) -> HostArray:
    """Tell for which leading indices the weights spread little enough, shape (...)."""
    seen = logs if problem.key_mask is None else problem.shown(logs)
    lowest = _arrays.to_host(problem.xp.min(seen, axis=-2))[..., 0]
    return np.asarray(lowest >= -SPREAD)


def _weight_error(problem: Problem, middle_length: HostArray, radius: HostArray) -> HostArray:
    """Return 2 eta of step 4, shape (..., 1)."""
    size, u = problem.scale * middle_length * radius, problem.u
    eta = size * (2 * u + gamma(problem.d + 6, U64)) + (EXP_ULPS + 2 + 4 * size) * U64 + 2 * u
    return up(2 * eta)


def _flushed(problem: Problem, lengths: HostArray, radius: HostArray) -> HostArray:
    """Return what step 5 adds to ln rho, shape (..., 1)."""
    longest = np.max(lengths, axis=-1, keepdims=True)
    tiny = _arrays.smallest_normal(problem.dtype)
    return up(4 * problem.scale * problem.d * tiny * (longest + radius))


def _shares(key_lengths: HostArray, radius: HostArray, problem: Problem) -> HostArray:
    """Return |k_j| / max|k_j|, rounded up, shape (..., n_k); 0 for keys that take no part."""
    if problem.key_mask is not None:
        key_lengths = np.where(_arrays.to_host(problem.key_mask), key_lengths, 0.0)
    safe = np.where(radius > 0, radius, 1.0)
    return np.minimum(key_lengths / safe * (1 + 4 * U64), 1.0)


def _on_host(weights: Array | None) -> HostArray | None:
    return None if weights is None else _arrays.to_host(weights[..., 0]).astype(np.float64)


def _totals(problem: Problem, weights: Array | None) -> HostArray:
    if weights is None:
        return problem.visible_keys.astype(np.float64)
    of_keys = _arrays.to_host(weights[..., 0]).astype(np.float64)
    grow = 1 + gamma(problem.n_k, U64)
    if problem.causal:
        return up(problem.of_heads(np.cumsum(of_keys, axis=-1)[..., problem.earlier :]) * grow)
    total = np.sum(of_keys, axis=-1, keepdims=True) * grow
    return np.broadcast_to(up(total), (*problem.batch, problem.n_q))
