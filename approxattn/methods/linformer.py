"""Linformer: attention to k combinations of the n keys and values (Wang, Li, Khabsa, Fang & Ma 2020, arXiv 2006.04768v3).

The paper's head is softmax(beta Q (E K)^T) F V with E, F of shape (k, n), trained. Untrained forms:

gaussian. E = F = R, entries N(0, 1/k); or E = delta R, F = e^{-delta} R as in the paper's appendix B. Its Theorem 2 is false: for Q = 0, V = 1 exact
attention is 1 and the output is N(0, n/k^2)-distributed times e^{-delta}, so no bound can be given.

mean-pool. Blocks b of keys with means k_b, v_b and sizes m_b: weights m_b e^{s_b} on v_b. That is exact attention over all keys with k_j replaced by the
mean of its block, so by the tanh lemma TV <= tanh(eta_i / 2), eta_i = beta |q_i| max_j |k_j - k_b(j)| (proved here). The bound is on whatever k_b was
computed, so its rounding needs no analysis. Rounding of the rest: a weight is exp of s_b + ln m_b, a score of size B_i + L, L = max ln m_b; adding the
logarithm is one rounding, rounding it to the dtype at most 2 u L; the means of the values are sums of at most l = max m_b terms and a division, so they
are off by gamma_{l+1} max|V|.

row-sample. The softmax over k keys drawn uniformly with replacement (proved here, by Hoeffding's inequality). Fix a row, a column with values in
[a, b] and exact output o. Let w_j = s_j - mean s, |w_j| <= B, t_j = e^{w_j} and T the mean of t over all keys; T >= 1 by Jensen's inequality. Sampled
o~ >= o + x, 0 < x < b - o, if and only if the mean over the sample of Y = t (v - o - x) / T is >= 0. E Y = -x, and Y lies between e^B (a - o - x) and
e^B (b - o - x), an interval of length e^B (b - a). So P(o~ >= o + x) <= exp(-2 k x^2 / (e^B (b - a))^2), and the same below. With failure delta shared by
n_q rows, dv columns and two sides,

    |o~ - o| <= osc(V) e^B sqrt(ln(2 n_q dv / delta) / (2 k))   for all rows together, with probability >= 1 - delta.

Beyond osc(V) it says nothing that is not sure already: o~ is a mean of values. The computed centre differs from the mean of the keys by at most
gamma_{n+3} max|k|, which joins B.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.certificate import SOFTMAX, Approximation, Certificate
from approxattn.perturbation import output_bound, tv_from_score_error
from approxattn.rounding import gamma, up
from approxattn.score_bounds import key_centre, score_bound, value_spread
from approxattn.scores import masked_scores, softmax_rounding
from approxattn.sketching import MeanPool, gaussian, mean_pool, row_sample

SKETCHES = ("gaussian", "mean-pool", "row-sample")

SCORES_AT_ONCE = 2**20
"""Scores held at one time, over all batch items. *Chosen*: 8 MiB in float64."""


@dataclass(frozen=True, kw_only=True)
class Linformer:
    """Attention to k = `rank` combinations of the keys and values.

    Parameters
    ----------
    rank : int
        Number of combinations k >= 1. Mean pooling makes no more blocks than there are visible keys, and is exact from there on; the random
        sketches take any rank.
    sketch : {"gaussian", "mean-pool", "row-sample"}
        Random combinations as in the paper's proofs; means of contiguous blocks of the visible keys, each weighted by its size; visible keys drawn
        uniformly with replacement. All but "mean-pool" need `rng`.
    delta : float, optional
        For "gaussian" only: E = delta R, F = exp(-delta) R as in the paper's appendix B, instead of E = F = R.
    confidence : float
        For "row-sample" only: probability, in (0, 1), with which the bounds of all rows of one leading batch index hold together.

    Raises
    ------
    TypeError
        If `rank` is not an int.
    ValueError
        If a parameter is out of its range, or `delta` is given for another sketch.

    Notes
    -----
    Certificates: mean pooling surely, by the tanh lemma; row sampling with probability >= confidence, by Hoeffding's inequality (both proved
    here); Gaussian none, since Theorem 2 of Wang et al. (2020) is false. There is no causal form: each combination holds later keys.
    """

    rank: int
    sketch: str = "gaussian"
    delta: float | None = None
    confidence: float = 0.99

    why_not_causal: ClassVar[str] = "its combinations mix earlier keys with later ones; use Exact() or Polynomial(...)"
    why_no_scale: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if not isinstance(self.rank, int) or isinstance(self.rank, bool):
            msg = f"rank(={self.rank!r}) must be an int, the number of combined keys"
            raise TypeError(msg)
        if self.rank < 1:
            msg = f"rank(={self.rank}) must be at least 1: the softmax over no keys is undefined"
            raise ValueError(msg)
        if self.sketch not in SKETCHES:
            msg = f"sketch(={self.sketch!r}) must be one of {', '.join(SKETCHES)}"
            raise ValueError(msg)
        if self.delta is not None and self.sketch != "gaussian":
            msg = f"delta(={self.delta}) belongs to sketch='gaussian', not to {self.sketch!r}: leave it None"
            raise ValueError(msg)
        if self.delta is not None and not 0 < self.delta < math.inf:
            msg = f"delta(={self.delta}) must be a finite positive number; None means E = F"
            raise ValueError(msg)
        if not 0 < self.confidence < 1:
            msg = f"confidence(={self.confidence}) must lie in (0, 1), e.g. 0.99"
            raise ValueError(msg)

    @property
    def randomised(self) -> bool:
        """Whether `compute` draws: mean pooling does not."""
        return self.sketch != "mean-pool"

    def compute(self, problem: Problem, rng: np.random.Generator | None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate."""
        if self.sketch == "mean-pool":
            return _mean_pool(problem, self.rank)
        if rng is None:
            msg = f"rng(=None) with sketch={self.sketch!r}: pass numpy.random.default_rng(seed)"
            raise TypeError(msg)
        if self.sketch == "row-sample":
            return _row_sample(problem, self.rank, 1 - self.confidence, rng)
        return _gaussian(problem, self.rank, self.delta, rng)


def _mean_pool(problem: Problem, rank: int) -> Approximation:
    pool = mean_pool(_visible(problem), rank)
    full = _arrays.from_host(pool.counts > 0, problem.q)
    xp, log_counts = problem.xp, np.log(np.maximum(pool.counts, 1))
    pooled = _pooled(problem, pool.apply(problem.k), pool.apply(problem.v))
    pooled = replace(pooled, key_mask=xp.broadcast_to(full, (*problem.batch, full.shape[-1])))
    bias = _arrays.from_host(log_counts.astype(problem.dtype)[..., None, :], problem.q)
    return Approximation(value=_attend(pooled, bias), certificate=_pool_certificate(problem, pooled, pool))


def _pool_certificate(problem: Problem, pooled: Problem, pool: MeanPool) -> Certificate:
    u, tiny = problem.u, _arrays.smallest_normal(problem.dtype)
    everyone = replace(problem, key_mask=None)  # the deviations are those of visible keys already
    eta = score_bound(everyone, pool.deviations(problem.k, pooled.k))
    eta = up(eta * (1 + 4 * u) + problem.d * tiny)
    log_top = math.log(max(1, int(np.max(pool.counts))))
    spread = value_spread(problem)
    tv = tv_from_score_error(eta + 4 * u * log_top)
    means = gamma(pool.members.shape[-1] + 3, u) * spread.top + tiny
    rounding = softmax_rounding(pooled, score_bound(pooled, pooled.k) + log_top, pooled.n_k) + means[..., None]
    return Certificate(
        rows=up(output_bound(tv, spread.osc) + rounding),
        target=SOFTMAX,
        theorem="ours.mean-pool",
        facts={
            "sketch": "mean-pool",
            "rank": pooled.n_k,
            "score error of pooling": eta,
            "total variation": tv,
            "rounding": rounding,
        },
    )


def _row_sample(problem: Problem, rank: int, failure: float, rng: np.random.Generator) -> Approximation:
    sample = row_sample(_visible(problem), rank, rng)
    sampled = _pooled(problem, sample.apply(problem.k), sample.apply(problem.v))
    rounding = softmax_rounding(sampled, score_bound(problem, problem.k), sampled.n_k)
    bound = _centred_bound(problem)
    log_union = math.log(2 * problem.n_q * problem.dv / failure)
    with np.errstate(over="ignore"):
        share = up(np.exp(bound) * math.sqrt(log_union / (2 * rank)))  # of osc(V)
        needed = float(np.ceil(np.max(np.exp(2 * bound)) * log_union / 2))
    trivial = int(np.sum(share >= 1))
    unmet = f"rank(={rank}) is too small for a bound below osc(V) on {trivial} of {share.size} rows; all would need rank >= {needed:.3g}"
    certificate = Certificate(
        rows=up(output_bound(share, value_spread(problem).osc) + rounding),
        target=SOFTMAX,
        theorem="ours.row-sample",
        failure=failure if trivial < share.size else 0.0,
        facts={"sketch": "row-sample", "rank": rank, "score bound, keys centred": bound, "rounding": rounding},
        unmet=(unmet,) if trivial else (),
    )
    return Approximation(value=_attend(sampled, None), certificate=certificate)


def _centred_bound(problem: Problem) -> HostArray:
    """Return B_i >= max_j (s_ij - mean of row i), shape (..., n_q): at most twice the bound about the computed centre, whatever that is."""
    about = up(score_bound(problem, problem.k - key_centre(problem)) * (1 + 4 * problem.u))
    off = gamma(problem.n_k + 4, problem.u)
    return up(about + np.minimum(about, off * score_bound(problem, problem.k)) if math.isfinite(off) else 2 * about)


def _gaussian(problem: Problem, rank: int, delta: float | None, rng: np.random.Generator) -> Approximation:
    xp, sketch = problem.xp, gaussian(problem.n_k, rank, rng)
    both = [problem.k, problem.v]
    if problem.key_mask is not None:
        both = [xp.where(problem.key_mask[..., None], x, xp.zeros_like(x)) for x in both]
    keys, values = (sketch.apply(x) for x in both)
    if delta is not None:
        keys, values = keys * delta, values * math.exp(-delta)
    _check_overflow(problem, keys, values)
    certificate = Certificate(
        rows=np.full((*problem.batch, problem.n_q), np.inf),
        target=SOFTMAX,
        theorem="linformer.theorem-2",
        facts={"sketch": "gaussian", "rank": rank, **({} if delta is None else {"delta": delta})},
        unmet=(
            "the theorem is refuted (queries 0, values 1: exact attention is 1, the sketch returns Gaussian noise)",
        ),
    )
    return Approximation(value=_attend(_pooled(problem, keys, values), None), certificate=certificate)


def _check_overflow(problem: Problem, keys: Array, values: Array) -> None:
    """Refuse combinations whose scores or sums could overflow."""
    xp = problem.xp
    top_q, top_k, top_v = (float(xp.max(xp.abs(x))) for x in (problem.q, keys, values))
    size = max(2 * problem.scale * problem.d * max(top_q, 1.0) * max(top_k, 1.0), keys.shape[-2] * top_v)
    if not size < _arrays.largest(problem.dtype) / 16:
        msg = f"sketched scores or values reach {size:.3g} and could overflow {problem.dtype}: rescale q, k, v or use float64"
        raise ValueError(msg)


def _visible(problem: Problem) -> HostArray:
    """Return which keys take part, bool, shape (..., n_k), or (n_k,) when all do."""
    return np.ones(problem.n_k, bool) if problem.key_mask is None else _arrays.to_host(problem.key_mask)


def _pooled(problem: Problem, keys: Array, values: Array) -> Problem:
    """Return the problem of attending to other keys and values, none masked."""
    return replace(problem, k=keys, v=values, key_mask=None)


def _attend(problem: Problem, bias: Array | None) -> Array:
    """Return softmax attention with `bias`, broadcastable to the scores, added to them; in blocks of queries, shape (..., n_q, dv)."""
    xp = problem.xp
    step = max(1, SCORES_AT_ONCE // (max(1, math.prod(problem.batch)) * problem.n_k))
    blocks = []
    for first in range(0, problem.n_q, step):
        q = problem.q[..., first : min(first + step, problem.n_q), :] * problem.scale
        scores = masked_scores(problem, q, first, 0, problem.n_k)
        scores = scores if bias is None else scores + bias
        weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        blocks.append(xp.matmul(weights, problem.v) / xp.sum(weights, axis=-1, keepdims=True))
    return xp.concat(blocks, axis=-2)
