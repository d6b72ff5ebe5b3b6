"""How far attention with summary keys is from attention.

Symbols as in `chunk_keys`, for query i of one block; delta_i = q_i - qm, c a centre of the keys,
R = max_j |k_j - c| over the visible ones. r_i is the weight that the query gives to summaries.

Bound (proved here).

1. A summary of piece p has the weight e^{t_ip} on the mean of its values by pi. So the weights are
   those of attention over all keys, in which key j of the piece has the score t_ip + ln pi_j
   = f_j + delta_i . kh_p in the place of q_i . k_j = f_j + delta_i . k_j.
2. So its score is off by delta_i . (k_j - kh_p), at most eta_i = |delta_i| (R + max_p |kh_p - c|).
3. The scores of the other keys are exact: the bound of `perturbation` for tokens of the
   approximate mass r_i holds. For a query equal to qm it is 0.
4. Where keys are left out altogether (no summaries, more far keys than heavy ones) nothing of the
   kind holds, and the range of the values decides.

Rounding (proved here). B_i is the largest bound on the scores among the queries of the block, n
the number of keys, l the longest piece, N the keys and summaries that a query meets, and
g = gamma_(d+3).

1. Step 1 is an identity for whatever qm and kh_p were computed: kh_p cancels. So only f_j, pi_j,
   M_p and t_ip round.
2. f_j, q_i . kh_p and qm . kh_p are off by g B_i each, the exponent f_j - max f by 2 u B_i, its
   exp by EXP_ULPS u. M_p is off by gamma_l in ratio, ln M_p by EXP_ULPS u (1 + ln n), and the three
   sums of the bias and the score by u (4 B_i + ln n) each. With the exact score that is compared,
   step 2 of the bound is off by at most

       eps_i = 4 g B_i + u (16 B_i + (EXP_ULPS + 4) (3 + ln n)) + gamma_(l + 2).

3. The softmax over N numbers, of size at most 4 B_i + ln n, adds to it as in `softmax.py` over one
   block. For queries that meet no summaries eps_i is only that.
4. The tanh lemma turns it into tanh(eps_i / 2) osc(V); sums, also those of vh_p, add
   gamma_(2 N + 2 l + 12) max|V|; what underflows loses 4 n w of sums that are at least 1.
5. The computed r_i is off by the factor e^{2 eps_i} (1 + gamma_(2 N + 4)), and 2 n w.
6. Sums of a piece that were multiplied m times on their way, in float64 of roundoff u', by a factor
   e^{t - t'} that M_p and the sums for kh_p and vh_p share: each acts like a score error, common to
   the keys summed so far, of at most u' (EXP_ULPS + 4 + 4 B_i), and sums in another 2 m roundings.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.precision import plain
from approxattn._problem import Problem
from approxattn.bounds.perturbation import (
    output_bound,
    tv_from_partial_score_error,
    tv_from_score_error,
)
from approxattn.bounds.rounding import EXP_ULPS, U64, gamma, times, up
from approxattn.bounds.scores import key_centre, row_norms, score_bound, value_spread, visible_max
from approxattn.bounds.softmax import score_rounding
from approxattn.methods.selected_keys.chunk_keys import ChunkKeys


class Reach(NamedTuple):
    """A centre of the keys, shape (1, d), and the largest distance of a visible key from it."""

    centre: Array
    radius: float


class Terms(NamedTuple):
    """What the bound knows of the queries of a chunk, shapes (C b,); of N, l and m, the number.

    `lost` says where keys are left out, `summarised` where there are summaries.
    """

    eta: HostArray
    share: HostArray
    size: HostArray
    lost: HostArray
    summarised: HostArray
    met: int
    longest: int
    multiplied: int = 0


def reach(problem: Problem) -> Reach:
    """Return the centre and the radius of the visible keys of a problem without leading axes."""
    centre = key_centre(problem)
    lengths = row_norms(problem.k - centre, problem.xp) * (1 + 4 * problem.u)
    return Reach(centre, float(visible_max(lengths, problem)) + _underflow(problem))


def _underflow(problem: Problem) -> float:
    return 2 * problem.d * _arrays.smallest_normal(problem.dtype)


def terms(
    problem: Problem,
    keys: ChunkKeys,
    share: Array,
    ball: Reach,
    *,
    left: bool,
    multiplied: int = 0,
) -> Terms:
    """Return what the bound knows of a chunk; `left` says whether keys are left out, `multiplied`
    how often sums of a piece were.
    """
    xp, chunk, slack = problem.xp, keys.chunk, 1 + 4 * problem.u
    bound = score_bound(problem)[chunk.first : chunk.last].reshape(chunk.count, chunk.rows)
    size = np.repeat(np.max(bound, axis=1), chunk.rows)
    nothing, no = np.zeros(size.shape), np.zeros(size.shape, bool)
    met = chunk.width + int(keys.k.shape[1])
    if keys.summaries is None:
        return Terms(nothing, nothing, size, no | left, no, met, 0)
    there = np.isfinite(_arrays.to_host(keys.summaries.bias))[:, 0, :]  # (C, G)
    far = row_norms(keys.summaries.k - ball.centre[None, ...], xp) * slack + _underflow(problem)
    far = np.max(np.where(there, far, 0.0), axis=1)[:, None]
    away = row_norms(keys.q - keys.mean, xp) * slack + _underflow(problem)
    eta = up(times(away, ball.radius + far)).reshape(-1)
    some = np.repeat(np.any(there, axis=1), chunk.rows)
    longest = max(stop - start for start, stop in chunk.pieces(int(there.shape[1])))
    share = _arrays.to_float64(share).reshape(-1)
    return Terms(eta, share, size, no, some, met, longest, multiplied)


def rows(problem: Problem, found: list[Terms]) -> tuple[HostArray, HostArray]:
    """Return the bound on the error of each row, inf where keys are left out, and the bound on the
    weight of the summaries, shapes (n_q,).
    """
    parts = [_rows(problem, part) for part in found]
    bounds, shares = zip(*parts, strict=True)
    return np.concatenate(bounds), np.concatenate(shares)


def _rows(problem: Problem, part: Terms) -> tuple[HostArray, HostArray]:
    u, one = problem.u, plain(problem.u)
    log = math.log(problem.n_k) + 1
    tiny = problem.n_k * _arrays.smallest_normal(problem.dtype)
    scores = score_rounding(problem, part.size)
    summed = 4 * scores + one * (16 * part.size + (EXP_ULPS + 4) * (3 + log))
    summed = (
        summed + gamma(part.longest + 2, u) + 2 * one * (EXP_ULPS + 4 + 4 * (4 * part.size + log))
    )
    summed = summed + part.multiplied * U64 * (EXP_ULPS + 4 + 4 * part.size)
    summed = summed + gamma(2 * part.multiplied, U64)
    plain_eps = scores + 2 * one * (EXP_ULPS + 4 + 4 * part.size)
    eps = np.where(part.summarised, summed, plain_eps)
    with np.errstate(over="ignore"):
        grown = part.share * np.exp(2 * eps) * (1 + gamma(2 * part.met + 4, u)) + 2 * tiny
    share = np.where(part.summarised, np.minimum(up(grown), 1.0), 0.0)
    spread = value_spread(problem)
    tv = tv_from_partial_score_error(part.eta, share) + tv_from_score_error(eps)
    chain = gamma(2 * part.met + 2 * part.longest + 12, u) + gamma(4 * part.multiplied, U64)
    sums = chain * spread.top
    total = output_bound(tv, spread.osc) + sums + 4 * tiny * np.maximum(spread.top, 1.0)
    return np.where(part.lost, np.inf, up(total)), share
