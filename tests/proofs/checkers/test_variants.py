"""Variants of a claim are partials of one function: confirmed afresh, replayed, or refused."""

from __future__ import annotations

import functools
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from proofs_check import Assumption, Falsify, Source, Status, Theorem, Verdict, catalogue
from proofs_check.checkers import check
from proofs_check.checkers.fresh import (
    confirm_here,
    confirm_in_fresh_process,
    environment_of_children,
)
from proofs_check.running import replay
from proofs_check.running.evidence import Unit
from proofs_check.statements import named


def whole_numbers() -> Any:
    return st.fixed_dictionaries({"x": st.integers(-9, 9)})


def above(instance: Any, factor: Fraction, *, shift: int = 0) -> tuple[Fraction, int]:
    """factor (x + shift) against 3."""
    return factor * (instance["x"] + shift), 3


def at_least(instance: Any, least: int) -> bool:
    return bool(instance["x"] >= least)


def side(instance: Any, index: int, factor: Fraction, shift: int = 0) -> float:
    return float(above(instance, factor, shift=shift)[index])


def search(factor: Fraction, least: int = -9, **fixed: Any) -> Falsify:
    return Falsify(
        instances=whole_numbers,
        measured=functools.partial(side, index=0, factor=factor, **fixed),
        bound=functools.partial(side, index=1, factor=factor, **fixed),
        confirm=functools.partial(above, factor=factor, **fixed),
        assumptions=(
            Assumption(text="x is not small", predicate=functools.partial(at_least, least=least)),
        ),
        covers="statement",
        scope="whole numbers up to 9",
    )


@pytest.mark.parametrize(
    ("factor", "fixed", "violated"),
    [
        (Fraction(1, 3), {}, False),
        (Fraction(1, 2), {}, True),
        (Fraction(1, 3), {"shift": 1}, True),
    ],
)
def test_a_partial_is_confirmed_with_its_own_numbers(
    factor: Fraction, fixed: dict[str, int], violated: bool
) -> None:
    experiment = search(factor, **fixed)
    for confirm in (confirm_here, confirm_in_fresh_process):
        confirmation = confirm(experiment, {"x": 9})
        assert confirmation.violated == violated
        assert confirmation.grade == "exact-rational"
    verdict = check(experiment)
    assert verdict.status is (Status.REFUTED if violated else Status.INCONCLUSIVE)


def test_a_partial_of_a_predicate_holds_in_a_fresh_process() -> None:
    assert confirm_in_fresh_process(search(Fraction(1), least=5), {"x": 5}).violated
    refused = confirm_in_fresh_process(search(Fraction(1), least=6), {"x": 5})
    assert not refused.violated
    assert "violates the assumption at_least" in refused.reason


def replayed(
    experiment: Falsify, verdict: Verdict, script: Path
) -> subprocess.CompletedProcess[str]:
    theorem = Theorem(
        key="a.b",
        title="t",
        statement="s",
        source=Source(citation="proved here", place="here", fidelity="ours"),
        assumptions=experiment.assumptions,
        experiments=(experiment,),
        expected=Status.REFUTED,
        mutant=experiment,
    )
    unit = Unit(theorem="a.b", experiment=0, seed=0, budget="quick", fingerprint="f")
    script.write_text(replay.source(theorem, unit, verdict))
    return subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        check=False,
        env=environment_of_children(),
        cwd=Path(__file__).parents[3],
    )


def test_a_partial_is_replayed_by_a_script_that_runs_alone(tmp_path: Path) -> None:
    """A mutant of the catalogue, so that the script finds its functions as installed."""
    experiment = catalogue.theorem("yoso.hadamard-collision").mutant
    assert isinstance(experiment, Falsify)
    assert isinstance(experiment.confirm, functools.partial)
    verdict = check(experiment)
    assert verdict.status is Status.REFUTED
    done = replayed(experiment, verdict, tmp_path / "replay.py")
    assert done.returncode == 0, done.stderr
    assert "violated: True" in done.stdout


def test_a_replay_of_a_witness_that_does_not_refute_says_so(tmp_path: Path) -> None:
    experiment = catalogue.theorem("ours.gradient-weights").mutant
    assert isinstance(experiment, Falsify)
    flat = {"x": ((1,),), "g": ((1,),), "w": ((0,),), "wv": ((1,),), "ratio": ((4,),)}
    claimed = Verdict(status=Status.REFUTED, grade="ball", scope="s", witness=flat)
    done = replayed(experiment, claimed, tmp_path / "replay.py")
    assert done.returncode == 1, done.stderr
    assert "violated: False" in done.stdout


@pytest.mark.parametrize(
    ("confirm", "complaint"),
    [
        (functools.partial(lambda instance, n: (instance["x"], n), n=1), "define it with `def`"),
        (functools.partial(above, factor=object()), "'factor' fixed"),
        (functools.partial(above, factor=lambda x: x), "pass a string"),
    ],
)
def test_what_a_fresh_process_could_not_call_is_refused(confirm: Any, complaint: str) -> None:
    fields = vars(search(Fraction(1)))
    with pytest.raises(ValueError, match=complaint):
        Falsify(**(fields | {"confirm": confirm}))


def test_every_function_that_decides_in_the_catalogue_can_be_found_again() -> None:
    """Names are taken late: a second `def` of the same name would take the first one's place."""
    for theorem in catalogue.theorems(timed=True).values():
        for experiment in (*theorem.experiments, theorem.mutant):
            if isinstance(experiment, Falsify):
                assert named.written(experiment.confirm)
                for assumption in experiment.assumptions:
                    assert assumption.predicate is None or named.written(assumption.predicate)
