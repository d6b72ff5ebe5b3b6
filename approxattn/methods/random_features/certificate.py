"""The certificate of random features; its derivation stands in `performer`."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from approxattn._arrays import Array, HostArray
from approxattn._arrays.crossing import fetched, space
from approxattn._problem import Problem, refuse_overflow
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import query_lengths, query_norms, spread_of
from approxattn.bounds.values import bound_from_reach
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
    reach: Array,
    longest: float,
    share: float = 1.0,
) -> Certificate:
    """Return the certificate of the output of the queries of a problem, which saw these keys and
    have that share of the probability of failure; `reach` is the `value_reach` of the output.
    """
    failure = (1 - settings.confidence) * share
    n_q, dv = problem.n_q, int(keys.high.shape[-1])
    variance, osc = _variance(settings, problem, keys), spread_of(keys.high, keys.low).osc
    rho = np.sqrt(variance)
    mass = 1 - up(rho * math.sqrt(2 * n_q / failure))
    earned = mass > 0
    rounding = feature_rounding(problem, settings.features, longest, keys)
    numerators = math.sqrt(2 * n_q * dv / failure)
    with np.errstate(over="ignore", invalid="ignore"):
        moved = up(rho / 2 * numerators / np.where(earned, mass, 1.0))
        total = up(moved * osc[..., None] + rounding)
        chance = np.where(earned, total, np.inf)
    sure = bound_from_reach(reach, keys.high, keys.low, problem)
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


def refuse_exponents(problem: Problem, radius: Array, longest: float) -> None:
    """Refuse exponents of queries, and of keys of at most that length, shape (...), at hand, that
    could overflow.
    """
    sizes = fetched(*(space(x).max(x) for x in (query_lengths(problem), radius)))
    root = math.sqrt(problem.scale)
    x, y = (root * float(size) for size in sizes)
    size = 4 * ((x + y) * longest + y * y)
    refuse_overflow("the largest exponent of a feature", size, problem.dtype)
