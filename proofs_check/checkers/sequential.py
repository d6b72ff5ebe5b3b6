"""Probabilities and bounded means under the full budget, batch after batch until decided.

At the latest it ends with the plan's last batch. Fixed before a number is drawn: the level, the
bets, the batches and how many there are at most. Both sides are e-processes, so that stopping early
is no peeking.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from proofs_check.arithmetic.eprocesses import MeanBets, log_evidence_below, p_value
from proofs_check.statements.experiment import Sample

BATCHES_PER_PLAN, BATCHES = 4, 40
"""A batch is a quarter of the fixed-size plan, and there are at most 40: ten times the draws.
*Chosen*.
"""

STRICTER = 100
"""The level is the plan's divided by this. *Chosen*: with the ten times as many draws, the stronger
statement that the full budget is for.
"""

Evidence = Callable[[np.ndarray], tuple[float, ...]]
"""Takes a batch; returns the logarithms of the e-processes: those all needed to support, then the
one that refutes.
"""


def carry_out(
    experiment: Sample, draw: Callable[[int], np.ndarray]
) -> tuple[float, float, dict[str, Any]]:
    """p-values (for, against) and facts; ``draw(m)`` returns the next m draws."""
    evidence = (
        _probability(experiment)
        if experiment.claim.startswith("probability")
        else _mean(experiment)
    )
    plan = experiment.plan
    alpha, batch = plan.alpha / STRICTER, math.ceil(plan.n / BATCHES_PER_PLAN)
    best: tuple[float, ...] = ()
    total, n = 0.0, 0
    while n < BATCHES * batch and not (best and min(_p_values(best)) <= alpha):
        values = draw(batch)
        total, n = total + float(np.sum(values)), n + batch
        logs = evidence(values)
        best = tuple(map(max, best, logs)) if best else logs
    facts = {
        "estimate": total / n,
        "n": n,
        "alpha": alpha,
        "batch": batch,
        "n at most": BATCHES * batch,
    }
    return *_p_values(best), facts


def _p_values(best: tuple[float, ...]) -> tuple[float, float]:
    return p_value(min(best[:-1])), p_value(best[-1])


def _probability(experiment: Sample) -> Evidence:
    # P[event] >= t is P[no event] <= 1 - t.
    at_most = experiment.claim == "probability <="
    delta = experiment.target if at_most else 1 - experiment.target
    failures, draws = 0, 0

    def update(events: np.ndarray) -> tuple[float, ...]:
        nonlocal failures, draws
        failures, draws = failures + int(np.sum(events == at_most)), draws + len(events)
        supports = float(log_evidence_below(failures, draws, delta))
        return supports, float(log_evidence_below(draws - failures, draws, 1 - delta))

    return update


def _mean(experiment: Sample) -> Evidence:
    assert experiment.bounds is not None  # noqa: S101 - narrows the type; the caller checked
    (low, high), margin = experiment.bounds, experiment.plan.margin

    def bets(bound: float, *, above: bool) -> MeanBets:
        return MeanBets(bound, low=low, high=high, above=above)

    # Equal up to the margin: both sides must be excluded to support; to refute, the mean of two
    # e-processes is one.
    top, bottom = experiment.target + margin, experiment.target - margin
    supporting = [bets(top, above=False)] if experiment.claim != "mean >=" else []
    supporting += [bets(bottom, above=True)] if experiment.claim != "mean <=" else []
    refuting = [bets(top, above=True)] if experiment.claim != "mean >=" else []
    refuting += [bets(bottom, above=False)] if experiment.claim != "mean <=" else []

    def update(values: np.ndarray) -> tuple[float, ...]:
        for one in (*supporting, *refuting):
            one.update(values)
        against = float(np.logaddexp.reduce([one.log_e for one in refuting])) - math.log(
            len(refuting)
        )
        return *(one.log_e for one in supporting), against

    return update
