"""Probabilities and means by a plan fixed beforehand: draw n, test once."""

from __future__ import annotations

from typing import Any

import numpy as np

from proofs_check import statistics
from proofs_check.checkers._budget import Budget, generator
from proofs_check.experiment import Sample
from proofs_check.verdict import Status, Verdict, inconclusive


def check(experiment: Sample, *, rng_seed: int, budget: Budget) -> Verdict:  # noqa: ARG001 - the plan fixes the effort
    """Two one-sided tests at the plan's level: one can support, one can refute, and often neither does."""
    values = _draw(experiment, rng_seed)
    is_probability = experiment.claim.startswith("probability")
    p_support, p_refute, facts = _probability(experiment, values) if is_probability else _mean(experiment, values)
    plan = experiment.plan
    facts |= {"n": plan.n, "alpha": plan.alpha, "sampler": plan.sampler, "p_support": p_support, "p_refute": p_refute}
    details: dict[str, Any] = {"facts": facts, "tightness": _tightness(experiment, facts["estimate"])}
    scope = f"{experiment.scope}; n = {plan.n} draws of {plan.sampler}, alpha = {plan.alpha:g}"
    if experiment.claim == "mean =":
        scope += f", margin {plan.margin:g}"
    if p_refute <= plan.alpha:
        witness = {"estimate": facts["estimate"], "n": plan.n, "seed": rng_seed}
        return Verdict(status=Status.REFUTED, grade="statistical", scope=scope, witness=witness, **details)
    if p_support <= plan.alpha:
        return Verdict(status=Status.SUPPORTED, grade="statistical", scope=scope, **details)
    note = f"neither side reached level {plan.alpha:g}: p = {p_support:.3g} for, {p_refute:.3g} against"
    return inconclusive(note, **details)


def _draw(experiment: Sample, seed: int) -> np.ndarray:
    rng, left, parts = generator(seed), experiment.plan.n, []
    wanted_kind = "b" if experiment.claim.startswith("probability") else "f"
    while left:
        m = min(left, experiment.chunk)
        part = np.asarray(experiment.draw(rng, m))
        if part.shape != (m,) or part.dtype.kind != wanted_kind:
            kind = "booleans" if wanted_kind == "b" else "floats"
            msg = f"draw returned {part.dtype} of shape {part.shape}: it must return {m} {kind}"
            raise TypeError(msg)
        parts.append(part)
        left -= m
    return np.concatenate(parts)


def _probability(experiment: Sample, events: np.ndarray) -> tuple[float, float, dict[str, Any]]:
    count, n, plan = int(np.sum(events)), len(events), experiment.plan
    # P[event] >= t is P[no event] <= 1 - t.
    at_most = experiment.claim == "probability <="
    failures, delta = (count, experiment.target) if at_most else (n - count, 1 - experiment.target)
    p_support, p_refute = statistics.binomial_p_values(failures, n, delta)
    low, high = statistics.binomial_bounds(count, n, plan.alpha)
    return p_support, p_refute, {"estimate": count / n, "events": count, "at least": low, "at most": high}


def _mean(experiment: Sample, values: np.ndarray) -> tuple[float, float, dict[str, Any]]:
    plan, target = experiment.plan, experiment.target
    means = statistics.block_means(values, plan.blocks)
    test = statistics.mean_p_values(means, target - plan.margin, target + plan.margin)
    facts = {"estimate": test.mean, "standard error": test.standard_error, "blocks": plan.blocks}
    if experiment.claim == "mean <=":
        return test.not_above, test.above, facts
    if experiment.claim == "mean >=":
        return test.not_below, test.below, facts
    # Equal up to the margin: both sides must be excluded to support; either side refutes, at half the level each.
    return max(test.not_above, test.not_below), min(1.0, 2 * min(test.above, test.below)), facts


def _tightness(experiment: Sample, estimate: float) -> float | None:
    if experiment.target <= 0 or experiment.claim not in ("probability <=", "mean <="):
        return None
    return estimate / experiment.target
