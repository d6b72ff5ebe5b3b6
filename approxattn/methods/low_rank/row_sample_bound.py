"""How far attention to sampled keys is from attention, with what probability.

Row sampling is the softmax over k keys drawn uniformly with replacement.

Symbols. A row has scores s_j and the exact output o in a column whose values lie in [a, b]; o~ is
its output over the sample. w_j = s_j - mean s with |w_j| <= B, t_j = e^{w_j}, and T is the mean of
t over all keys. delta is the probability of failure.

Bound (proved here, by Hoeffding's inequality).

1. T >= 1, by Jensen's inequality.
2. For 0 < x < b - o, o~ >= o + x if and only if the mean over the sample of Y = t (v - o - x) / T
   is >= 0.
3. E Y = -x, and Y lies between e^B (a - o - x) and e^B (b - o - x), an interval of length e^B (b -
   a).
4. So P(o~ >= o + x) <= exp(-2 k x^2 / (e^B (b - a))^2), and the same below.
5. With delta shared by n_q rows, dv columns and two sides, for all rows together with probability
   >= 1 - delta,

    |o~ - o| <= osc(V) e^B sqrt(ln(2 n_q dv / delta) / (2 k)).

6. Beyond osc(V) it says nothing that is not sure already: o~ is a mean of values.
7. The computed centre of the keys differs from their mean by at most gamma_{n+3} max|k|, which
   joins B.
"""

from __future__ import annotations

import math

import numpy as np

from approxattn._arrays import HostArray
from approxattn._problem import Problem
from approxattn.bounds.perturbation import output_bound
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import key_centre, score_bound, score_bound_of, value_spread
from approxattn.bounds.softmax import softmax_rounding
from approxattn.certificate import SOFTMAX, Certificate
from approxattn.methods.low_rank.combinations import Combined


def row_sample_certificate(
    combined: Combined, failure: float, facts: dict[str, object]
) -> Certificate:
    """Return the certificate of attention to sampled keys."""
    problem = combined.original
    return certificate_of_sample(
        problem, combined.reduced.problem, _centred_bound(problem), failure, facts
    )


def certificate_of_sample(
    problem: Problem,
    sampled: Problem,
    bound: HostArray,
    failure: float,
    facts: dict[str, object],
) -> Certificate:
    """Return it for B_i, shape (..., n_q)."""
    rank = sampled.n_k
    rounding = softmax_rounding(sampled, score_bound(problem), sampled.n_k)
    log_union = math.log(2 * problem.n_q * problem.dv / failure)
    with np.errstate(over="ignore"):
        share = up(np.exp(bound) * math.sqrt(log_union / (2 * rank)))  # of osc(V)
        needed = float(np.ceil(np.max(np.exp(2 * bound)) * log_union / 2))
    trivial = int(np.sum(share >= 1))
    unmet = (
        f"rank(={rank}) is too small for a bound below osc(V) on {trivial} of {share.size} rows; "
        f"all would need rank >= {needed:.3g}"
    )
    return Certificate(
        rows=up(output_bound(share, value_spread(problem).osc) + rounding),
        target=SOFTMAX,
        theorem="ours.row-sample",
        failure=failure if trivial < share.size else 0.0,
        facts={**facts, "score bound, keys centred": bound, "rounding": rounding},
        unmet=(unmet,) if trivial else (),
    )


def _centred_bound(problem: Problem) -> HostArray:
    """Return B_i >= max_j (s_ij - mean of row i), shape (..., n_q)."""
    about = score_bound_of(problem, problem.k - key_centre(problem))
    return bound_about_mean(problem, about, gamma(problem.n_k + 4, problem.u))


def bound_about_mean(problem: Problem, about: HostArray, off: float) -> HostArray:
    """Return that from a bound about a computed centre of the keys, shape (..., n_q), at most twice
    that whatever the centre is; `off` times max|k| is how far it is from their mean.
    """
    about = up(about * (1 + 4 * problem.u))
    if not math.isfinite(off):
        return up(2 * about)
    return up(about + np.minimum(about, off * score_bound(problem)))
