"""The hunt: structured problems, an optimiser, real heads.

A certificate below the error is the worst bug this package can have.

Errors are bounded from above by ball arithmetic (for real heads: by float64 and its own
certificate). A mutant of each method, its certificate divided by the row's `slack`, shows that the
hunt would notice, and that the bounds are not idle.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
from cases import Case, run
from hunting import Ledger, check, guilty, problems, ratios
from hypothesis import HealthCheck, given, settings
from methods import TABLE, Row
from oracle import enclose

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn._problem import Problem
from approxattn.data import minilm_heads
from approxattn.methods.protocol import Method

FINITE = [row for row in TABLE if np.isfinite(row.slack)]
EXAMPLES = 2 * settings.default.max_examples
"""Problems; `proofs_check hunt` tries hundreds of thousands."""


def sure(row: Row) -> bool:
    return not row.method.randomised or getattr(row.method, "confidence", 1.0) > 1 - 1e-6


def hunt(rows: list[Row], examples: int, *, stop: bool) -> Ledger:
    """Hold the methods against that many problems; fail on the first that a sure method gets wrong,
    or only count, each method until it is caught.
    """
    ledger, numbers, free = Ledger(), itertools.count(), list(rows)

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(problems())
    def hold(case: Case) -> None:
        if not free:
            return
        wrong = check(free, case, ledger, seed=next(numbers))
        if not stop:
            free[:] = [row for row in free if not guilty([row], ledger)]
        else:
            assert not [line for line in wrong if sure(by_name[line.partition(":")[0]])], wrong

    by_name = {row.name: row for row in rows}
    hold()
    return ledger


@pytest.mark.parametrize("target", ["softmax", "yoso"])
def test_hunt_finds_no_error_above_its_certificate(target: str) -> None:
    rows = [row for row in FINITE if (row.target == "softmax") == (target == "softmax")]
    ledger = hunt(rows, EXAMPLES, stop=True)
    print(ledger)
    assert not guilty(rows, ledger)
    for key, calls in ledger.calls.items():
        assert ledger.refused[key] < 0.4 * calls, (
            f"{key} refused {ledger.refused[key]} of {calls} problems"
        )


# --- the hunt itself on trial ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A method whose certificate promises too much by a factor."""

    method: Method
    factor: float

    @property
    def randomised(self) -> bool:
        return self.method.randomised

    @property
    def confidence(self) -> float:
        return float(getattr(self.method, "confidence", 1.0))

    @property
    def why_not_causal(self) -> str:
        return self.method.why_not_causal

    @property
    def why_no_scale(self) -> str:
        return self.method.why_no_scale

    def compute(self, problem: Problem, rng: np.random.Generator | None) -> aa.Approximation:
        out = self.method.compute(problem, rng)
        return replace(
            out, certificate=replace(out.certificate, rows=out.certificate.rows / self.factor)
        )


@pytest.mark.parametrize("target", ["softmax", "yoso"])
def test_hunt_catches_every_mutant(target: str) -> None:
    guarded = [row for row in FINITE if row.target == target and row.every == 1]
    rows = [replace(row, method=Mutant(method=row.method, factor=row.slack)) for row in guarded]
    ledger = hunt(rows, 1500, stop=False)
    caught = {line.partition(":")[0] for line in guilty(rows, ledger)}
    missed = [f"{row} / {row.slack:g}" for row in rows if row.name not in caught]
    assert not missed, f"not caught: {missed}\n{ledger}"


# --- an optimiser against each sure bound ---------------------------------------------------------


def _problem_from(x: HostArray) -> Case:
    """Three queries and three keys in the plane, values of width 2: 18 numbers."""
    q, k, v = (part.reshape(3, 2) for part in np.split(x, 3))
    return Case(name="found", q=q, k=k, v=v)


def _worst(row: Row, x: HostArray) -> float:
    case = _problem_from(x)
    return float(ratios(row, case, enclose(row, case)).max(initial=0.0))


def climb(row: Row, rng: np.random.Generator, evaluations: int) -> float:
    """Return the largest ratio found by coordinate search from the best of some random starts,
    coordinates in [-2, 2].
    """
    starts = [rng.uniform(-2, 2, 18) for _ in range(evaluations // 4)]
    values = [_worst(row, x) for x in starts]
    best = max(values)
    x, step, left = starts[values.index(best)], 0.5, evaluations - len(starts)
    while left > 0:
        before = best
        for i in rng.permutation(18)[:left]:
            y = x.copy()
            y[i] = np.clip(x[i] + step * rng.choice([-1.0, 1.0]) * rng.uniform(0.2, 1), -2, 2)
            left -= 1
            if (found := _worst(row, y)) > best:
                x, best = y, found
        step = step if best > before else max(step / 1.5, 1e-3)
    return best


@pytest.mark.parametrize(
    "row",
    [
        row
        for row in FINITE
        if row.every == 1 and not (row.method.randomised and hasattr(row.method, "confidence"))
    ],
    ids=str,
)
def test_optimiser_finds_no_error_above_its_certificate(row: Row) -> None:
    """Only bounds that hold surely, for given draws if there are any: an optimiser sees the draws,
    which a probability does not allow.
    """
    # coefficients that were never met cost a linear programme each
    steps = 200 if isinstance(row.method, aa.FittedPolynomial) else 800
    best = climb(row, np.random.default_rng(11), steps)
    print(f"{row}: largest error / bound {best:.3g}")
    assert best <= 1


# --- real heads -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heads() -> Case:
    found = minilm_heads()
    return Case(
        name="heads",
        q=found.q.astype(np.float64),
        k=found.k.astype(np.float64),
        v=found.v.astype(np.float64),
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row", [row for row in FINITE if row.target != "hadamard"], ids=str)
def test_real_heads(row: Row, dtype: str, causal: bool, heads: Case) -> None:
    """Eight heads of 256 tokens: no further from float64 than both certificates together."""
    if causal and (row.method.why_not_causal or "causal" in row.exempt):
        pytest.skip("no causal form")
    reference, refusals = replace(row, method=_reference(row)), []
    indices = list(np.ndindex(*heads.q.shape[:2])) if row.every == 1 else [(0, 0), (1, 1)]
    for index in indices:
        case = heads.where(
            q=heads.q[index], k=heads.k[index], v=heads.v[index], options={"causal": causal}
        )
        try:
            out = run(row, case.astype(dtype))
        except ValueError as refusal:
            if getattr(row.method, "basis", "") not in ("chebyshev", "minimax"):
                raise  # only a polynomial that belongs to an interval may refuse real scores
            refusals.append(str(refusal))
            continue
        true = run(reference, case)
        assert (true.certificate.rows < 1e-6).all()
        distance = np.abs(out.value.astype(np.float64) - true.value).max(axis=-1)
        print(
            f"{row} {dtype} {index}: distance / bound {np.max(distance / out.certificate.rows):.3g}"
        )
        assert (distance <= out.certificate.rows + true.certificate.rows).all()
    assert len(refusals) < len(indices), refusals[0]


def _reference(row: Row) -> Method:
    if row.target == "softmax":
        return aa.Exact()
    return aa.YosoExpectation(bits=row.bits, normalize=row.normalize)
