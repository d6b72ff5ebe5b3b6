"""Probabilities and means by a plan fixed beforehand: draw n, test once.

With the full budget the tests may be looked at while they run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from proofs_check.arithmetic import statistics
from proofs_check.checkers import sequential
from proofs_check.checkers.budget import Budget, generator
from proofs_check.statements.experiment import Sample
from proofs_check.statements.verdict import Status, Verdict, inconclusive

_MORE, _CLOSER = 10, 2
"""A mean without bounds, under the full budget: so many times the draws, and the margin divided.
*Chosen*: a margin halved needs four times.
"""


def check(experiment: Sample, *, rng_seed: int, budget: Budget) -> Verdict:
    """Two one-sided tests at the plan's level: one can support, one can refute, and often neither
    does.
    """
    draw = _drawer(experiment, rng_seed)
    plan, bounded = (
        experiment.plan,
        experiment.claim.startswith("probability") or experiment.bounds is not None,
    )
    more = budget == "full" and not plan.fixed
    if more and bounded:
        p_support, p_refute, facts = sequential.carry_out(experiment, draw)
        how = (
            f"at most {facts['n at most']} draws of {plan.sampler} in batches of {facts['batch']}, "
            f"stopped after {facts['n']}"
        )
    else:
        if more:
            plan = replace(plan, n=_MORE * plan.n, margin=plan.margin / _CLOSER)
            experiment = replace(experiment, plan=plan)
        p_support, p_refute, facts = _fixed(experiment, draw(plan.n))
        how = f"n = {plan.n} draws of {plan.sampler}"
    alpha = facts["alpha"]
    facts |= {"sampler": plan.sampler, "p_support": p_support, "p_refute": p_refute}
    details: dict[str, Any] = {
        "facts": facts,
        "tightness": _tightness(experiment, facts["estimate"]),
    }
    scope = f"{experiment.scope}; {how}, alpha = {alpha:g}"
    if experiment.claim == "mean =":
        scope += f", margin {plan.margin:g}"
    if p_refute <= alpha:
        witness = {"estimate": facts["estimate"], "n": facts["n"], "seed": rng_seed}
        return Verdict(
            status=Status.REFUTED, grade="statistical", scope=scope, witness=witness, **details
        )
    if p_support <= alpha:
        return Verdict(status=Status.SUPPORTED, grade="statistical", scope=scope, **details)
    note = f"neither side reached level {alpha:g}: p = {p_support:.3g} for, {p_refute:.3g} against"
    return inconclusive(note, **details)


def _drawer(experiment: Sample, seed: int) -> Callable[[int], np.ndarray]:
    """A function that returns the next draws, asked for in chunks."""
    rng = generator(seed)
    wanted_kind = "b" if experiment.claim.startswith("probability") else "f"

    def draw(n: int) -> np.ndarray:
        parts = []
        for start in range(0, n, experiment.chunk):
            m = min(n - start, experiment.chunk)
            part = np.asarray(experiment.draw(rng, m))
            if part.shape != (m,) or part.dtype.kind != wanted_kind:
                kind = "booleans" if wanted_kind == "b" else "floats"
                msg = f"draw returned {part.dtype} of shape {part.shape}: it must return {m} {kind}"
                raise TypeError(msg)
            parts.append(part)
        return np.concatenate(parts)

    return draw


def _fixed(experiment: Sample, values: np.ndarray) -> tuple[float, float, dict[str, Any]]:
    test = _probability if experiment.claim.startswith("probability") else _mean
    p_support, p_refute, facts = test(experiment, values)
    return p_support, p_refute, facts | {"n": experiment.plan.n, "alpha": experiment.plan.alpha}


def _probability(experiment: Sample, events: np.ndarray) -> tuple[float, float, dict[str, Any]]:
    count, n, plan = int(np.sum(events)), len(events), experiment.plan
    # P[event] >= t is P[no event] <= 1 - t.
    at_most = experiment.claim == "probability <="
    failures, delta = (count, experiment.target) if at_most else (n - count, 1 - experiment.target)
    p_support, p_refute = statistics.binomial_p_values(failures, n, delta)
    low, high = statistics.binomial_bounds(count, n, plan.alpha)
    return (
        p_support,
        p_refute,
        {"estimate": count / n, "events": count, "at least": low, "at most": high},
    )


def _mean(experiment: Sample, values: np.ndarray) -> tuple[float, float, dict[str, Any]]:
    plan, target = experiment.plan, experiment.target
    means = statistics.block_means(values, plan.blocks)
    test = statistics.mean_p_values(means, target - plan.margin, target + plan.margin)
    facts = {"estimate": test.mean, "standard error": test.standard_error, "blocks": plan.blocks}
    if experiment.claim == "mean <=":
        return test.not_above, test.above, facts
    if experiment.claim == "mean >=":
        return test.not_below, test.below, facts
    # Equal up to the margin: both sides must be excluded to support; either side refutes, at half
    # the level each.
    return max(test.not_above, test.not_below), min(1.0, 2 * min(test.above, test.below)), facts


def _tightness(experiment: Sample, estimate: float) -> float | None:
    if experiment.target <= 0 or experiment.claim not in ("probability <=", "mean <="):
        return None
    return estimate / experiment.target
