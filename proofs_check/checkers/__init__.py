"""One interpreter per kind of experiment: data in, verdict out.

`check` never raises for what happens inside an experiment: whatever goes wrong there is
inconclusive, never a refutation.
"""

from __future__ import annotations

import functools
import time
from dataclasses import replace
from typing import Any

from proofs_check.checkers import count, enclose, falsify, sample, scale, symbolic
from proofs_check.checkers.budget import BUDGETS, Budget
from proofs_check.statements.experiment import (
    Count,
    Enclose,
    Experiment,
    Falsify,
    Sample,
    Scale,
    Symbolic,
)
from proofs_check.statements.verdict import Verdict, inconclusive

__all__ = ["BUDGETS", "Budget", "check"]


@functools.singledispatch
def _dispatch(experiment: Any, *, rng_seed: int, budget: Budget) -> Verdict:
    del rng_seed, budget
    msg = f"experiment(={type(experiment).__name__}) is of no known kind"
    raise TypeError(msg)


_dispatch.register(Symbolic)(symbolic.check)
_dispatch.register(Enclose)(enclose.check)
_dispatch.register(Falsify)(falsify.check)
_dispatch.register(Sample)(sample.check)
_dispatch.register(Count)(count.check)
_dispatch.register(Scale)(scale.check)


def check(experiment: Experiment, *, rng_seed: int = 0, budget: Budget = "quick") -> Verdict:
    """Carry out one experiment.

    Parameters
    ----------
    experiment : Experiment
        Any of the six kinds.
    rng_seed : int
        All randomness follows from it: same seed, same verdict (`Scale` excepted, which reads a
        clock).
    budget : {"quick", "full"}
        How long to search; plans fixed beforehand (`Sample`, `Count`) do not depend on it.

    Returns
    -------
    Verdict
        With the wall time spent; inconclusive, with the reason, when the experiment raised an
        exception.

    Raises
    ------
    TypeError
        When the object is no experiment.
    ValueError
        When the budget is unknown.
    """
    if budget not in BUDGETS:
        msg = f"budget(={budget!r}) is none of {BUDGETS}"
        raise ValueError(msg)
    if _dispatch.dispatch(type(experiment)) is _dispatch.dispatch(object):
        _dispatch(experiment, rng_seed=rng_seed, budget=budget)
    start = time.perf_counter()
    try:
        verdict = _dispatch(experiment, rng_seed=rng_seed, budget=budget)
    except Exception as error:  # noqa: BLE001 - a crash says nothing about the statement
        verdict = inconclusive(f"{type(error).__name__}: {error}"[:500])
    return replace(verdict, seconds=time.perf_counter() - start)
