"""Search for a counterexample, of which exact arithmetic in a fresh process has the last word.

Hypothesis searches first, then an optimiser.

The search runs in floats and may be wrong either way. A violation counts only when exact arithmetic
confirms it, first here (so that Hypothesis shrinks true counterexamples, not rounding artefacts),
then in a fresh process from the written witness.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from proofs_check.checkers.budget import Budget, generator
from proofs_check.checkers.fresh import Confirmation, confirm_here, confirm_in_fresh_process
from proofs_check.checkers.reproducible import without_local_constants
from proofs_check.statements import serial
from proofs_check.statements.experiment import Continuous, Falsify, Instance
from proofs_check.statements.verdict import Status, Verdict, inconclusive

_MORE = {"quick": 1, "full": 10}
_STARTS = {"quick": 3, "full": 30}
_CONFIRMATIONS = {"quick": 100, "full": 2000}
"""How many confirmations shrinking may cost. *Chosen*; a count and not a time, so that the witness
does not depend on the machine.
"""

_SHRINKS = {"quick": 2000, "full": 100_000}
"""How many instances shrinking may try. *Chosen*; a witness is small long before."""

_BITS_KEPT = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


class _Violated(Exception):
    """Tells Hypothesis that an example is a confirmed counterexample, so that it shrinks it."""


class _SmallEnough(BaseException):
    """Ends shrinking: Hypothesis lets through what is no `Exception`."""


class _Search:
    """The best instance so far, and what was confirmed."""

    def __init__(self, experiment: Falsify, budget: Budget) -> None:
        self.experiment = experiment
        self.confirmations = _CONFIRMATIONS[budget]
        self.shrinks = _SHRINKS[budget]
        self.confirmed: set[str] = set()
        self.tried = 0
        self.artefacts = 0
        self.best_ratio = -math.inf
        self.tightness: float | None = None
        self.best: Instance | None = None
        self.counterexample: Instance | None = None

    def admissible(self, instance: Instance) -> bool:
        return all(
            a.predicate is None or a.predicate(instance) for a in self.experiment.assumptions
        )

    def improve(self, instance: Instance) -> Instance:
        """The instance with the block that has a closed form at its best."""
        return (
            instance if self.experiment.eliminate is None else self.experiment.eliminate(instance)
        )

    def ratio(self, instance: Instance) -> float:
        """Return measured / bound in floats; a larger one is remembered."""
        with np.errstate(all="ignore"):
            measured, bound = (
                float(self.experiment.measured(instance)),
                float(self.experiment.bound(instance)),
            )
        self.tried += 1
        if math.isnan(measured) or math.isnan(bound):
            return -math.inf
        ratio = _ratio(measured, bound)
        if ratio > self.best_ratio:
            self.best_ratio, self.best = ratio, instance
        if 0 <= ratio <= 1:
            self._tighten(ratio)
        return ratio

    def is_counterexample(self, instance: Instance, ratio: float) -> bool:
        """Whether floats suspect and exact arithmetic, here, confirms."""
        if ratio <= 1:
            return False
        written = serial.dumps(instance)
        # shrinking: known answers are free, new ones are rationed
        if self.counterexample is not None:
            if written in self.confirmed:
                # Hypothesis ends by trying its smallest example once more
                self.counterexample = instance
                return True
            if self.confirmations <= 0:
                return False
            self.confirmations -= 1
        confirmation = confirm_here(self.experiment, instance)
        if confirmation.violated:
            self.counterexample = instance
            self.confirmed.add(written)
            return True
        self.artefacts += 1
        if confirmation.ratio is not None:
            self._tighten(confirmation.ratio)
        return False

    def _tighten(self, ratio: float) -> None:
        """A violation in floats that exact arithmetic denies counts with its exact ratio."""
        self.tightness = ratio if self.tightness is None else max(self.tightness, ratio)


def _ratio(measured: float, bound: float) -> float:
    """Above 1 exactly when measured > bound; 0 where both vanish, which says nothing about
    tightness.
    """
    if bound > 0:
        return measured / bound
    if measured > bound:
        return math.inf
    return bound / measured if measured < 0 else 0.0


def check(experiment: Falsify, *, rng_seed: int, budget: Budget) -> Verdict:
    """Refute with a small, confirmed witness, or report how close the search came."""
    search = _Search(experiment, budget)
    _try_examples(search)
    if search.counterexample is None:
        _explore(search, rng_seed, experiment.tries * _MORE[budget])
    if (
        search.counterexample is None
        and experiment.continuous is not None
        and search.best is not None
    ):
        _optimise(search, experiment.continuous, rng_seed, _STARTS[budget])
    facts: dict[str, Any] = {"tried": search.tried, "violations not confirmed": search.artefacts}
    if search.counterexample is None:
        note = f"not refuted in {search.tried} tries"
        if search.artefacts:
            note += f"; {search.artefacts} violations in floats, none confirmed"
            facts["largest ratio in floats"] = search.best_ratio
        return inconclusive(note, tightness=search.tightness, facts=facts)
    witness = _simplest(search, search.counterexample)
    confirmation = confirm_in_fresh_process(experiment, witness)
    if not confirmation.violated:
        return inconclusive(
            f"a violation was not confirmed in a fresh process: {confirmation.reason}", facts=facts
        )
    return _refuted(experiment, witness, confirmation, facts)


def _refuted(
    experiment: Falsify, witness: Instance, confirmation: Confirmation, facts: dict[str, Any]
) -> Verdict:
    note = (
        f"measured >= {confirmation.measured[0]:.6g} exceeds the bound <= "
        f"{confirmation.bound[1]:.6g}"
    )
    return Verdict(
        status=Status.REFUTED,
        grade=confirmation.grade,
        scope=experiment.scope,
        tightness=confirmation.ratio,
        witness=dict(witness),
        facts=facts | {"measured": confirmation.measured, "bound": confirmation.bound},
        note=note,
    )


def _try_examples(search: _Search) -> None:
    for instance in map(search.improve, search.experiment.examples):
        if search.admissible(instance) and search.is_counterexample(
            instance, search.ratio(instance)
        ):
            return


def _explore(search: _Search, seed: int, tries: int) -> None:
    """Hypothesis: exact structure first, driven towards large ratios, shrunk when a counterexample
    is confirmed.
    """
    import hypothesis
    from hypothesis import HealthCheck, Phase, Verbosity

    settings = hypothesis.settings(
        max_examples=tries,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
        derandomize=False,
        phases=(Phase.generate, Phase.target, Phase.shrink),
    )

    @hypothesis.seed(seed)
    @settings
    @hypothesis.given(search.experiment.instances())
    def property_holds(instance: Instance) -> None:
        if search.counterexample is not None:
            search.shrinks -= 1
            if search.shrinks < 0:
                raise _SmallEnough
        instance = search.improve(instance)
        hypothesis.assume(search.admissible(instance))
        ratio = search.ratio(instance)
        if math.isfinite(ratio):
            hypothesis.target(ratio)
        if search.is_counterexample(instance, ratio):
            raise _Violated

    try:
        with without_local_constants():
            property_holds()
    except (_Violated, _SmallEnough, hypothesis.errors.Flaky):
        # Flaky: the ration of confirmations ended in the middle of shrinking; what was confirmed
        # stays so
        pass
    except hypothesis.errors.Unsatisfiable:
        pass  # no admissible instance: the caller reports zero tries


def _optimise(search: _Search, continuous: Continuous, seed: int, starts: int) -> None:
    """Climb from the best instance: L-BFGS where the ratio is smooth, Nelder-Mead where it is not,
    CMA-ES from there where it is installed.
    """
    from scipy.optimize import minimize

    rng, template = generator(seed), search.best
    assert template is not None  # noqa: S101 - narrows the type; the caller checked

    def candidate(x: np.ndarray) -> Instance:
        return search.improve(continuous.from_vector(x, template))

    def descent(x: np.ndarray) -> float:
        instance = candidate(x)
        if not search.admissible(instance):
            return 1e300
        ratio = search.ratio(instance)
        return -ratio if math.isfinite(ratio) else -1e300 if ratio > 0 else 1e300

    start = np.asarray(continuous.to_vector(template), dtype=np.float64)
    for attempt in range(starts):
        x = start + (rng.normal(size=start.shape) * 0.1 * 2.0 ** (attempt % 4) if attempt else 0)
        for method, options in (
            ("L-BFGS-B", {"maxiter": 100}),
            ("Nelder-Mead", {"maxiter": 100 * len(start)}),
        ):
            with np.errstate(all="ignore"):
                x = minimize(descent, x, method=method, options=options).x
        x = _adapt_covariance(descent, x, seed + attempt)
        for instance in (candidate(x), search.best):
            if instance is None or not search.admissible(instance):
                continue
            if search.is_counterexample(instance, search.ratio(instance)):
                return


def _adapt_covariance(
    descent: Callable[[np.ndarray], float], x: np.ndarray, seed: int
) -> np.ndarray:
    """CMA-ES (Hansen) from x by the optional package cma, for at least two variables; x itself
    without it.
    """
    try:
        import cma
    except ImportError:
        return x
    if len(x) < 2:
        return x
    options = {
        "verbose": -9,
        "seed": seed % (2**31 - 1) + 1,
        "maxfevals": 200 * len(x),
        "tolfun": 1e-12,
    }
    with np.errstate(all="ignore"):
        return np.asarray(cma.fmin(descent, x, 0.3, options)[0], dtype=np.float64)


def _simplest(search: _Search, instance: Instance) -> Instance:
    """The instance with its floats rounded to as few binary places as the violation survives."""
    for rounded in _roundings(instance):
        if search.admissible(rounded) and confirm_here(search.experiment, rounded).violated:
            return rounded
    return instance


def _roundings(instance: Instance) -> Iterator[Instance]:
    for bits in _BITS_KEPT:
        yield {
            key: _round(value, 2.0**bits)
            for key, value in serial.loads(serial.dumps(instance)).items()
        }


def _round(value: Any, steps: float) -> Any:
    if isinstance(value, float):
        return round(value * steps) / steps if math.isfinite(value * steps) else value
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return (np.rint(value.astype(np.float64) * steps) / steps).astype(value.dtype)
    if isinstance(value, tuple):
        return tuple(_round(item, steps) for item in value)
    return value
