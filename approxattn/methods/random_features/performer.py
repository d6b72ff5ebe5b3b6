"""Performer: softmax attention estimated with positive random features (Choromanski et al. 2021,
Rethinking attention with Performers, arXiv 2009.14794; wording unverified).

Weights a~_ij = sum_r e^{w_r.x_i} e^{w_r.y_j - |y_j|^2/2} are positive, so every row of the output
is a mean of values. Features and variances: `approxattn.methods.random_features.features`; sums in
log space, in O(n m), causal through prefix states: `approxattn.methods.random_features.sums`.

Bound with a probability (proved here, by Chebyshev's inequality). Let p be the exact weights of row
i, o its output, and divide all weights by their exact sum, so that E a~_ij = p_j. Then o~ - o = N /
D with N = sum_j a~_j (v_j - o), D = sum_j a~_j, E N = 0 and E D = 1. If every a~_ij has relative
standard deviation at most rho_i, the norms of L2 add up: sd D <= rho_i, and sd N <= rho_i sum_j p_j
|v_j - o| <= rho_i osc(V) / 2. With failure delta, half of it shared by the n_q denominators and
half by the n_q dv numerators,

    |o~ - o| <= (rho_i osc(V) / 2) sqrt(2 n_q dv / delta) / (1 - rho_i sqrt(2 n_q / delta))   for
        all rows and columns, with probability >= 1 - delta,

and what the range of v implies surely. rho_i comes from |x_i + y_j| <= sqrt(beta) (|q_i| + max_j
|k_j|).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.gradients import no_gradient_bounds
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import key_norms, query_norms, row_norms, value_spread, visible_max
from approxattn.bounds.values import range_bound
from approxattn.certificate import (
    SOFTMAX,
    SOFTMAX_GRADIENT,
    Approximation,
    Certificate,
    GradientCertificate,
    Gradients,
)
from approxattn.methods.random_features.features import (
    KINDS,
    directions,
    on_device,
    relative_variance,
)
from approxattn.methods.random_features.gradient import gradient
from approxattn.methods.random_features.sums import attend, feature_rounding


@dataclass(frozen=True, kw_only=True)
class Performer:
    """Attention estimated with positive random features.

    Parameters
    ----------
    features : int
        Number m of features; even for "hyperbolic", which uses each random vector twice, with both
        signs.
    kind : {"positive", "hyperbolic"}
        Exponentials of independent vectors, or of vectors and their negatives.
    orthogonal : bool
        Whether vectors are drawn at right angles, in blocks of d: never a larger variance.
    confidence : float
        Probability, in (0, 1), with which the bounds of all rows of one leading batch index hold
        together.

    Raises
    ------
    TypeError
        If `features` is not an int.
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    The variance grows like ``e^{|x + y|^2}``, x = sqrt(scale) q, y = sqrt(scale) k: the certificate
    says something for short queries and keys only, and elsewhere what the range of v implies. The
    gradient is that of the output itself, for the same draws.
    """

    features: int
    kind: str = "positive"
    orthogonal: bool = True
    confidence: float = 0.99

    randomised: ClassVar[bool] = True
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if not isinstance(self.features, int) or isinstance(self.features, bool):
            msg = f"features(={self.features!r}) must be an int"
            raise TypeError(msg)
        if self.kind not in KINDS:
            msg = f"kind(={self.kind!r}) must be one of {', '.join(KINDS)}"
            raise ValueError(msg)
        if self.features < 1 or (self.kind == "hyperbolic" and self.features % 2):
            msg = f"features(={self.features}) must be at least 1, and even for kind='hyperbolic'"
            raise ValueError(msg)
        if not 0 < self.confidence < 1:
            msg = f"confidence(={self.confidence}) must lie in (0, 1), e.g. 0.99"
            raise ValueError(msg)

    def compute(self, problem: Problem, rng: np.random.Generator | None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate."""
        w = self._draw(problem, rng)
        value = attend(problem, on_device(w, problem)).mean
        return Approximation(value=value, certificate=self._certificate(problem, value, w))

    def vjp(self, problem: Problem, dout: Array, rng: np.random.Generator | None) -> Gradients:
        """Return dq, dk, dv of the output for the cotangent dout, shape (..., n_q, dv)."""
        w = on_device(self._draw(problem, rng), problem)
        dq, dk, dv = gradient(problem, w, attend(problem, w), dout)
        bounds = no_gradient_bounds(problem)
        certificate = GradientCertificate(
            dq=bounds.dq,
            dk=bounds.dk,
            dv=bounds.dv,
            target=SOFTMAX_GRADIENT,
            theorem="ours.gradient",
            facts={"features": self.features, "kind": self.kind},
            unmet=("no bound is known for the gradient of random features",),
        )
        return Gradients(dq=dq, dk=dk, dv=dv, certificate=certificate)

    def _draw(self, problem: Problem, rng: np.random.Generator | None) -> HostArray:
        if rng is None:
            msg = "rng(=None) with Performer: pass numpy.random.default_rng(seed)"
            raise TypeError(msg)
        w = directions(problem.d, self.features, self.kind, self.orthogonal, rng)
        _check_overflow(problem, w)
        return w

    def _certificate(self, problem: Problem, value: Array, w: HostArray) -> Certificate:
        failure = 1 - self.confidence
        variance, osc = self._variance(problem), value_spread(problem).osc[..., None]
        rho = np.sqrt(variance)
        mass = 1 - up(rho * math.sqrt(2 * problem.n_q / failure))
        earned = mass > 0
        with np.errstate(over="ignore", invalid="ignore"):
            share = up(
                rho
                / 2
                * math.sqrt(2 * problem.n_q * problem.dv / failure)
                / np.where(earned, mass, 1.0)
            )
            chance = np.where(earned, up(share * osc + feature_rounding(problem, w)), np.inf)
        sure = range_bound(value, problem)
        useful = chance < sure
        few = int(np.sum(~useful))
        needed = float(np.max(variance)) * self.features * 2 * problem.n_q * problem.dv / failure
        reason = (
            f"features(={self.features}) are too few for a bound below what the range of v implies "
            f"on {few} of {rho.size} rows; all would need about {needed:.3g}"
        )
        return Certificate(
            rows=np.fmin(chance, sure),
            target=SOFTMAX,
            theorem="ours.positive-features" if useful.any() else "ours.value-range",
            failure=failure if useful.any() else 0.0,
            facts={
                "features": self.features,
                "kind": self.kind,
                "relative variance of a weight": variance,
            },
            unmet=(reason,) if few else (),
        )

    def _variance(self, problem: Problem) -> HostArray:
        """Return the bound on Var a~_ij / a_ij^2 over the visible keys, shape (..., n_q)."""
        reach = query_norms(problem) + visible_max(key_norms(problem), problem)[..., None]
        with np.errstate(over="ignore"):
            return relative_variance(up(problem.scale * reach**2), self.features, self.kind)


def _check_overflow(problem: Problem, w: HostArray) -> None:
    """Refuse exponents that could overflow."""
    root = math.sqrt(problem.scale)
    x, y = (root * float(np.max(row_norms(z, problem.xp))) for z in (problem.q, problem.k))
    size = 4 * ((x + y) * float(np.max(np.linalg.norm(w, axis=1))) + y * y)
    if not size < _arrays.largest(problem.dtype) / 16:
        msg = (
            f"exponents of the features reach {size:.3g} and could overflow {problem.dtype}: "
            "rescale q, k or use float64"
        )
        raise ValueError(msg)
