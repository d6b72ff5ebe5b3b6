"""The certificate of random features; its derivation stands in `performer`."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem, refuse_overflow
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import query_norms, spread_of
from approxattn.bounds.values import range_bound_of
from approxattn.certificate import SOFTMAX, Certificate
from approxattn.methods.random_features.features import relative_variance
from approxattn.methods.random_features.sums import Keys, feature_rounding


class Settings(Protocol):
    """What the certificate needs of a `Performer`."""

    @property
    def features(self) -> int:
        """m."""
        ...

    @property
    def kind(self) -> str:
        """Of the features."""
        ...

    @property
    def confidence(self) -> float:
        """1 - delta."""
        ...


def feature_certificate(
    settings: Settings,
    problem: Problem,
    keys: Keys,
    value: Array,
    w: HostArray,
    share: float = 1.0,
) -> Certificate:
    """Return the certificate of the output of the queries of a problem, which saw these keys and
    have that share of the probability of failure.
    """
    failure = (1 - settings.confidence) * share
    n_q, dv = problem.n_q, int(value.shape[-1])
    variance, osc = _variance(settings, problem, keys), spread_of(keys.high, keys.low).osc
    rho = np.sqrt(variance)
    mass = 1 - up(rho * math.sqrt(2 * n_q / failure))
    earned = mass > 0
    numerators = math.sqrt(2 * n_q * dv / failure)
    with np.errstate(over="ignore", invalid="ignore"):
        moved = up(rho / 2 * numerators / np.where(earned, mass, 1.0))
        total = up(moved * osc[..., None] + feature_rounding(problem, w, keys))
        chance = np.where(earned, total, np.inf)
    sure = range_bound_of(value, keys.high, keys.low, problem)
    useful = chance < sure
    few = int(np.sum(~useful))
    needed = float(np.max(variance)) * settings.features * 2 * n_q * dv / failure
    reason = (
        f"features(={settings.features}) are too few for a bound below what the range of v implies "
        f"on {few} of {rho.size} rows; all would need about {needed:.3g}"
    )
    return Certificate(
        rows=np.fmin(chance, sure),
        target=SOFTMAX,
        theorem="ours.positive-features" if useful.any() else "ours.value-range",
        failure=failure if useful.any() else 0.0,
        facts={
            "features": settings.features,
            "kind": settings.kind,
            "relative variance of a weight": variance,
        },
        unmet=(reason,) if few else (),
    )


def _variance(settings: Settings, problem: Problem, keys: Keys) -> HostArray:
    """Return the bound on Var a~_ij / a_ij^2 over the visible keys, shape (..., n_q)."""
    longest = query_norms(problem) + keys.radius[..., None]
    with np.errstate(over="ignore"):
        return relative_variance(up(problem.scale * longest**2), settings.features, settings.kind)


def refuse_exponents(problem: Problem, radius: HostArray, w: HostArray) -> None:
    """Refuse exponents of queries, and of keys of at most that length, that could overflow."""
    root = math.sqrt(problem.scale)
    x = root * float(np.max(query_norms(problem)))
    y = root * float(np.max(radius))
    size = 4 * ((x + y) * float(np.max(np.linalg.norm(w, axis=1))) + y * y)
    refuse_overflow("the largest exponent of a feature", size, problem.dtype)
