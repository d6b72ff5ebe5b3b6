"""What a plan chooses from, and how long each of it takes on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from approxattn import _arrays
from approxattn._problem import Problem
from approxattn.attend.calls import approximate, why_refused
from approxattn.certificate.record import Record
from approxattn.diagnosis.equal_cost import settings_within
from approxattn.methods.exact import Exact
from approxattn.methods.low_rank.clustered import Clustered
from approxattn.methods.low_rank.linformer import Linformer
from approxattn.methods.low_rank.nystrom import Nystrom
from approxattn.methods.protocol import described
from approxattn.methods.selected_keys.selected_summaries import SelectedSummaries

WINDOWS = (64, 192, 448, 960)
SUMMARIES = ((0, 64), (0, 192), (64, 64), (128, 64), (128, 192), (256, 192), (512, 448))
"""Recent keys of plain windows; heavy and recent keys beside 16 summaries. *Chosen*: from 2 % to a
quarter of the pairs at 8,192 tokens.
"""

SHARES = (1 / 8, 1 / 4, 1 / 2)
"""Of the multiply-adds of exact attention, for methods of low rank. *Chosen*."""

Clock: TypeAlias = Callable[[], float]

RUNS, ENOUGH = 3, 0.1
"""Runs that are timed, at least, and seconds after which there is no further one; the fastest
counts. *Chosen*: the first one warms up, and short ones are often held up by others.
"""


@dataclass(frozen=True, kw_only=True, repr=False)
class Candidate(Record):
    """A method that a plan may choose.

    Attributes
    ----------
    method : Method
        The method.
    seconds : float
        Shortest time found for one head, without a certificate where the method has such a form.
    cost : float
        Multiply-adds over those of exact attention; nan where the method does not say.
    """

    method: Any
    seconds: float
    cost: float

    @property
    def name(self) -> str:
        """What a user would write."""
        return described(self.method)

    def _summary(self) -> str:
        return f"{self.name}, {self.seconds:.3g} s a head, {self.cost:.3g} of the multiply-adds"

    def _table(self) -> dict[str, str]:
        return {
            "method": self.name,
            "seconds a head": f"{self.seconds:.3g}",
            "multiply-adds over exact": f"{self.cost:.3g}",
        }


def offered(problem: Problem) -> list[Any]:
    """Return the methods that are tried when the caller names none: those that draw nothing, whose
    output for a head depends on that head alone, and that leave out some keys of this problem.
    """
    width = problem.n_k
    selected = [
        SelectedSummaries(heavy=0, recent=recent, summaries=0)
        for recent in WINDOWS
        if 2 * recent < width
    ]
    selected += [
        SelectedSummaries(heavy=heavy, recent=recent)
        for heavy, recent in SUMMARIES
        if heavy + 2 * recent < width
    ]
    kinds: tuple[type[Any], ...] = (Clustered, Linformer, Nystrom)
    low_rank = [
        m for kind in kinds for share in SHARES for m in settings_within(kind, problem, share)
    ]
    return [m for m in (*selected, *low_rank) if not m.randomised and not why_refused(m, problem)]


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What came of timing: exact attention, the candidates that are cheaper, cheapest first, how
    many there was no time for, and why some refuse these heads.
    """

    exact: Candidate
    cheaper: tuple[Candidate, ...] = ()
    untimed: int = 0
    refused: tuple[str, ...] = ()


def timed(
    methods: Sequence[Any],
    problem: Problem,
    rng: np.random.Generator,
    in_time: Callable[[], bool],
    *,
    clock: Clock | None,
) -> Timed:
    """Time methods on one head, those of few multiply-adds first; without a clock once, since times
    do not decide.
    """
    exact = _timed(Exact(), problem, rng, clock)
    found, refused = [], []
    waiting = sorted(_distinct(methods), key=lambda m: _rank(_cost(m, problem)))
    while waiting and in_time():
        method = waiting.pop(0)
        why = why_refused(method, problem)
        try:
            if not why:
                found.append(_timed(method, problem, rng, clock))
        except (ValueError, MemoryError) as error:
            why = f"{described(method)}: {error}"
        refused += [why] if why else []

    def key(candidate: Candidate) -> float:
        return candidate.cost if clock is None else candidate.seconds

    cheaper = sorted((c for c in found if key(c) < key(exact)), key=key)
    return Timed(exact=exact, cheaper=tuple(cheaper), untimed=len(waiting), refused=tuple(refused))


def _rank(cost: float) -> float:
    """Return a number to sort by: what is not known comes last."""
    return math.inf if math.isnan(cost) else cost


def _distinct(methods: Iterable[Any]) -> list[Any]:
    return [m for m in {described(m): m for m in methods}.values() if not isinstance(m, Exact)]


def _cost(method: Any, problem: Problem) -> float:
    """Return the multiply-adds over those of exact attention, nan where they are not known."""
    sizes = problem.n_q, problem.n_k, problem.d, problem.dv
    try:
        own = method.cost(*sizes).multiply_adds
    except (AttributeError, ValueError):
        return math.nan
    return float(own / max(1, Exact().cost(*sizes).multiply_adds))


def _timed(
    method: Any, problem: Problem, rng: np.random.Generator, clock: Clock | None
) -> Candidate:
    """Run a method, once where times do not decide, and return the shortest time."""
    spent: list[float] = []
    while not spent or (clock is not None and (len(spent) < RUNS or sum(spent) < ENOUGH)):
        spent.append(run(method, problem, rng, clock or time.perf_counter)[1])
    return Candidate(method=method, seconds=min(spent), cost=_cost(method, problem))


def run(
    method: Any, problem: Problem, rng: np.random.Generator, clock: Clock = time.perf_counter
) -> tuple[Any, float]:
    """Return the output of one head, and how long it took."""
    start = clock()
    value = approximate(method, replace(problem, certify=False), rng).value
    _arrays.to_host(value[..., :1, :1])  # wait for it, where a device computes
    return value, clock() - start
