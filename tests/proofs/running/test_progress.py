"""How long a campaign says that it will take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proofs_check import catalogue
from proofs_check.report import progress as progress_module
from proofs_check.report.progress import Progress
from proofs_check.running.campaign import Campaign
from proofs_check.running.evidence import Evidence, Unit
from proofs_check.running.usual import SECONDS, usual_seconds


def nothing(*_: Any, **__: Any) -> Iterator[Any]:
    """A campaign that is not carried out."""
    yield from ()


def test_a_first_run_is_judged_by_what_experiments_usually_take(tmp_path: Path) -> None:
    """Hundreds of short experiments come before the long ones: by their mean a first run would
    promise an end in minutes, and later in an hour.
    """
    told: list[tuple[Progress, float]] = []

    class Listener(Progress):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            told.append((self, self.remaining))

        def advance(self, unit: Unit, seconds: float) -> None:
            """Nothing: the campaign is not carried out."""

    ours = Campaign()
    with (
        pytest.MonkeyPatch.context() as patch,
        Evidence(tmp_path / "e.sqlite") as store,
    ):
        patch.setattr(progress_module, "Progress", Listener)
        patch.setattr(Campaign, "run", nothing)
        progress_module.carry_out(ours, store, quiet=True)
    ((progress, first),) = told
    expected = usual_seconds(ours.units)
    assert first == pytest.approx(sum(expected.values()) / 2)
    short = [unit for unit in ours.units if expected[unit] < 0.5]
    assert len(short) > len(ours.units) / 2
    now = [0.0]
    progress = Progress(ours.units, expected, jobs=1, clock=lambda: now[0])
    for unit in short:
        now[0] += expected[unit]
        progress.advance(unit, expected[unit])
    assert progress.remaining == pytest.approx(first * 2 - now[0])


def test_usual_seconds_are_of_experiments_that_there_are() -> None:
    theorems = catalogue.theorems()
    assert set(SECONDS) <= set(theorems)
    assert all(len(s) <= len(theorems[key].experiments) for key, s in SECONDS.items())
    quick, full = (
        usual_seconds(Campaign(("code.exact",), budget=b).units) for b in ("quick", "full")
    )
    assert sum(full.values()) > sum(quick.values())
