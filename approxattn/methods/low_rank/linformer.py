"""Linformer: attention to k combinations of the n keys and values (Wang, Li, Khabsa, Fang & Ma
2020, arXiv 2006.04768v3).

The paper's head is softmax(beta Q (E K)^T) F V with E, F of shape (k, n), trained. Its variants: F
= E ("key-value sharing"), one E for all heads and layers or one a head, means, maxima or
convolutions of blocks in place of E. Untrained forms:

gaussian. E = F = R, entries N(0, 1/k); or E = delta R, F = e^{-delta} R as in the paper's appendix
B. Its Theorem 2 is false: for Q = 0, V = 1 exact attention is 1 and the output is N(0,
n/k^2)-distributed times e^{-delta}, so no bound can be given. The other random combinations (signs,
sparse signs, CountSketch, Hadamard) have mean 0 too, and given E, F can be anything.

mean-pool, max-pool. Means of blocks of keys and values, each block weighted by its size: see
`approxattn.methods.low_rank.pooling_bounds`. Or the largest entries of the blocks, column by
column: each column of the output is then a mean of entries of that column of V, which is all there
is to say.

row-sample. The softmax over k keys drawn uniformly with replacement (proved here, by Hoeffding's
inequality). Fix a row, a column with values in [a, b] and exact output o. Let w_j = s_j - mean s,
|w_j| <= B, t_j = e^{w_j} and T the mean of t over all keys; T >= 1 by Jensen's inequality. Sampled
o~ >= o + x, 0 < x < b - o, if and only if the mean over the sample of Y = t (v - o - x) / T is >=
0. E Y = -x, and Y lies between e^B (a - o - x) and e^B (b - o - x), an interval of length e^B (b -
a). So P(o~ >= o + x) <= exp(-2 k x^2 / (e^B (b - a))^2), and the same below. With failure delta
shared by n_q rows, dv columns and two sides,

    |o~ - o| <= osc(V) e^B sqrt(ln(2 n_q dv / delta) / (2 k))   for all rows together, with
        probability >= 1 - delta.

Beyond osc(V) it says nothing that is not sure already: o~ is a mean of values. The computed centre
differs from the mean of the keys by at most gamma_{n+3} max|k|, which joins B.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.gradients import no_gradient_bounds
from approxattn.bounds.perturbation import output_bound
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import key_centre, score_bound, score_bound_of, value_spread
from approxattn.bounds.softmax import softmax_rounding
from approxattn.bounds.values import range_bound
from approxattn.certificate import (
    SOFTMAX,
    SOFTMAX_GRADIENT,
    Approximation,
    Certificate,
    GradientCertificate,
    Gradients,
)
from approxattn.methods.low_rank.combinations import (
    DRAWS,
    Combined,
    Projection,
    convolved,
    max_pooled,
    mean_pooled,
    projected,
    randomly_combined,
    row_sampled,
)
from approxattn.methods.low_rank.pooling_bounds import pooling_bound, pooling_gradient_bound
from approxattn.softmax.biased import attend, attend_gradient

SKETCHES = (*DRAWS, "row-sample", "mean-pool", "max-pool")


@dataclass(frozen=True, kw_only=True)
class Linformer:
    """Attention to k = `rank` combinations of the keys and values.

    Parameters
    ----------
    rank : int, optional
        Number of combinations k >= 1; not needed with `key_projection`. Pooling makes no more
        blocks than there are visible keys, and means are exact from there on; the random sketches
        take any rank ("srht": up to the next power of two from n_k on).
    sketch : {"gaussian", "rademacher", "sparse", "count-sketch", "srht", "row-sample", "mean-pool",
    "max-pool"}
        Random combinations as in the paper's proofs, or of one of the other kinds of
        `approxattn.sketching`; visible keys drawn uniformly with replacement; means of contiguous
        blocks of the visible keys, each weighted by its size, or their largest entries. All but the
        last two need `rng`.
    delta : float, optional
        For "gaussian" only: E = delta R, F = exp(-delta) R as in the paper's appendix B, instead of
        E = F = R.
    confidence : float
        For "row-sample" only: probability, in (0, 1), with which the bounds of all rows of one
        leading batch index hold together.
    key_projection, value_projection : array, shape (k, n_k) or (..., k, n_k), optional
        E and F of your own, in the library, device and dtype of q, in place of a sketch; F = E if
        only E is given. One for all leading indices (the paper's layerwise sharing), or leading
        axes that broadcast to them (such as one a head).
    kernel : tuple of float, optional
        In place of a sketch: weights of a convolution whose stride is its length, for keys and
        values alike; as many combinations as blocks.

    Raises
    ------
    TypeError
        If `rank` is not an int.
    ValueError
        If a parameter is out of its range, or `delta` is given for another sketch.

    Notes
    -----
    Certificates: mean pooling surely, by the tanh lemma; row sampling with probability >=
    confidence, by Hoeffding's inequality (both proved here); the range of v for largest entries;
    none for the others, since Theorem 2 of Wang et al. (2020) is false. There is no causal form:
    each combination holds later keys. Gradients are those of the output itself, with a certificate
    towards those of attention for means; those with respect to given projections are in
    `Gradients.parameters`.
    """

    rank: int | None = None
    sketch: str = "gaussian"
    delta: float | None = None
    confidence: float = 0.99
    key_projection: Array | None = field(default=None, compare=False, repr=False)
    value_projection: Array | None = field(default=None, compare=False, repr=False)
    kernel: tuple[float, ...] | None = None

    why_not_causal: ClassVar[str] = (
        "its combinations mix earlier keys with later ones; use Exact() or Polynomial(...)"
    )
    why_no_scale: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if self._given:
            self._check_given()
            return
        if self.value_projection is not None:
            msg = (
                "value_projection without key_projection: give both, or key_projection alone for F "
                "= E"
            )
            raise ValueError(msg)
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
            msg = (
                f"delta(={self.delta}) belongs to sketch='gaussian', not to {self.sketch!r}: leave "
                "it None"
            )
            raise ValueError(msg)
        if self.delta is not None and not 0 < self.delta < math.inf:
            msg = f"delta(={self.delta}) must be a finite positive number; None means E = F"
            raise ValueError(msg)
        if not 0 < self.confidence < 1:
            msg = f"confidence(={self.confidence}) must lie in (0, 1), e.g. 0.99"
            raise ValueError(msg)

    @property
    def _given(self) -> str:
        """What stands in place of a sketch: the name of a field, or empty."""
        return (
            "key_projection"
            if self.key_projection is not None
            else "kernel"
            if self.kernel is not None
            else ""
        )

    def _check_given(self) -> None:
        others: dict[str, object] = {
            "rank": self.rank,
            "delta": self.delta,
            "sketch": None if self.sketch == "gaussian" else self.sketch,
        }
        if self.key_projection is not None:
            others["kernel"] = self.kernel
        elif self.value_projection is not None:
            others["value_projection"] = "given"
        for name, value in others.items():
            if value is not None:
                msg = (
                    f"{name}(={value!r}) with {self._given}: {self._given} says it all, leave "
                    f"{name} out"
                )
                raise ValueError(msg)
        if self.kernel is not None and not (
            isinstance(self.kernel, tuple)
            and self.kernel
            and all(math.isfinite(w) for w in self.kernel)
        ):
            msg = f"kernel(={self.kernel!r}) must be a tuple of finite numbers, at least one"
            raise ValueError(msg)

    @property
    def randomised(self) -> bool:
        """Whether `compute` draws: pooling and what is given do not."""
        return not self._given and self.sketch not in ("mean-pool", "max-pool")

    def compute(self, problem: Problem, rng: np.random.Generator | None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate."""
        combined = self._combine(problem, rng)
        value = attend(combined.reduced)
        return Approximation(value=value, certificate=self._certificate(combined, value))

    def vjp(self, problem: Problem, dout: Array, rng: np.random.Generator | None) -> Gradients:
        """Return dq, dk, dv of the output, and of the projections if they are given, for the
        cotangent dout, shape (..., n_q, dv).
        """
        combined = self._combine(problem, rng)
        dq, dkeys, dvalues = attend_gradient(combined.reduced, dout)
        dk, dv = combined.back(dkeys, dvalues)
        pooled = self.sketch == "mean-pool"
        bounds = (
            pooling_gradient_bound(combined, dout, (dq, dk, dv))
            if pooled
            else no_gradient_bounds(problem)
        )
        certificate = GradientCertificate(
            dq=bounds.dq,
            dk=bounds.dk,
            dv=bounds.dv,
            target=SOFTMAX_GRADIENT,
            theorem="ours.gradient",
            facts=self._facts(combined),
            unmet=() if pooled else (f"no bound is known for the gradient of {self._name}",),
        )
        return Gradients(
            dq=dq,
            dk=dk,
            dv=dv,
            certificate=certificate,
            parameters=self._dprojections(combined, dkeys, dvalues),
        )

    def _dprojections(self, combined: Combined, dkeys: Array, dvalues: Array) -> dict[str, Array]:
        """Return dE and dF, their sum where F = E; for a kernel its gradient."""
        if self.kernel is not None:
            own, dkernel = combined.original, combined.keys.gradient
            total = dkernel(dkeys, own.k) + dkernel(dvalues, own.v)
            return {"kernel": _arrays.from_host(total.astype(own.dtype), own.q)}
        if not isinstance(combined.keys, Projection):
            return {}
        problem, xp = combined.original, combined.original.xp
        de, df = (
            combined.keys.gradient(dkeys, problem.k),
            combined.values.gradient(dvalues, problem.v),
        )
        found = (
            {"key_projection": de + df}
            if self.value_projection is None
            else {"key_projection": de, "value_projection": df}
        )
        return {name: _arrays.cast(x, problem.out_dtype, xp) for name, x in found.items()}

    @property
    def _name(self) -> str:
        return f"given {self._given}" if self._given else f"sketch={self.sketch!r}"

    def _combine(self, problem: Problem, rng: np.random.Generator | None) -> Combined:
        if self.key_projection is not None:
            return projected(problem, self.key_projection, self.value_projection)
        if self.kernel is not None:
            return convolved(problem, self.kernel)
        rank = self.rank or 0
        if self.sketch in ("mean-pool", "max-pool"):
            return (mean_pooled if self.sketch == "mean-pool" else max_pooled)(problem, rank)
        if rng is None:
            msg = f"rng(=None) with sketch={self.sketch!r}: pass numpy.random.default_rng(seed)"
            raise TypeError(msg)
        if self.sketch == "row-sample":
            return row_sampled(problem, rank, rng)
        return randomly_combined(problem, self.sketch, rank, self.delta, rng)

    def _facts(self, combined: Combined) -> dict[str, object]:
        kind = f"given {self._given}" if self._given else self.sketch
        facts: dict[str, object] = {"sketch": kind, "rank": combined.reduced.problem.n_k}
        return facts if self.delta is None else {**facts, "delta": self.delta}

    def _certificate(self, combined: Combined, value: Array) -> Certificate:
        facts = self._facts(combined)
        if self._given:
            return _no_certificate(combined.original, facts, random=False)
        if self.sketch == "mean-pool":
            bound = pooling_bound(combined)
            facts |= {
                "score error of pooling": bound.eta,
                "total variation": bound.tv,
                "rounding": bound.rounding,
            }
            return Certificate(
                rows=bound.rows, target=SOFTMAX, theorem="ours.mean-pool", facts=facts
            )
        if self.sketch == "row-sample":
            return _sample_certificate(combined, 1 - self.confidence, facts)
        if self.sketch == "max-pool":
            return Certificate(
                rows=range_bound(value, combined.original),
                target=SOFTMAX,
                theorem="ours.value-range",
                facts=facts,
                unmet=(
                    "no theorem speaks about largest entries: the bound is what the range of v "
                    "alone implies",
                ),
            )
        return _no_certificate(combined.original, facts, random=True)


def _sample_certificate(
    combined: Combined, failure: float, facts: dict[str, object]
) -> Certificate:
    problem, sampled = combined.original, combined.reduced.problem
    rank = sampled.n_k
    rounding = softmax_rounding(sampled, score_bound(problem), sampled.n_k)
    bound = _centred_bound(problem)
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
    """Return B_i >= max_j (s_ij - mean of row i), shape (..., n_q): at most twice the bound about
    the computed centre, whatever that is.
    """
    about = up(score_bound_of(problem, problem.k - key_centre(problem)) * (1 + 4 * problem.u))
    off = gamma(problem.n_k + 4, problem.u)
    return up(
        about + np.minimum(about, off * score_bound(problem)) if math.isfinite(off) else 2 * about
    )


def _no_certificate(problem: Problem, facts: dict[str, object], *, random: bool) -> Certificate:
    refuted = (
        "the theorem is refuted (queries 0, values 1: exact attention is 1, the sketch returns "
        "noise of mean 0)"
    )
    given = (
        "the theorem is refuted, and no other bounds combinations that can be anything; `audit` "
        "measures the error"
    )
    return Certificate(
        rows=np.full((*problem.batch, problem.n_q), np.inf),
        target=SOFTMAX,
        theorem="linformer.theorem-2",
        facts=facts,
        unmet=(refuted if random else given,),
    )
