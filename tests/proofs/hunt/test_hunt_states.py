"""The hunt among states on trial: a bound that is too small, in a query or in a continuation, of
states of every kind that holds surely.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

import approxattn as aa
from proofs_check.hunt.chunk import examine
from proofs_check.hunt.methods import ROWS, Cell


def smaller(result: Any) -> Any:
    told = result.certificate
    return replace(result, certificate=replace(told, rows=told.rows * 0.02))


@pytest.mark.parametrize("call", ["query", "attend"])
@pytest.mark.parametrize(
    ("row", "state"),
    [
        ("mean-pool-3", aa.LinformerState),
        ("taylor-4", aa.PolynomialState),
        ("taylor-4", aa.MomentState),
    ],
)
def test_a_bound_of_a_state_that_is_too_small_is_noticed(
    row: str, state: Any, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = getattr(state, call)

    def wrong(self: Any, *arrays: Any) -> Any:
        result = sound(self, *arrays)
        return smaller(result) if call == "query" else (smaller(result[0]), result[1])

    monkeypatch.setattr(state, call, wrong)
    for index in range(40):
        found = examine(Cell(row, "state", "float64"), index=index)["findings"]
        if any(f["kind"] == "violation" for f in found):
            return
    pytest.fail("not noticed in 40 chunks")


@pytest.mark.parametrize("row", ["taylor-4", "mean-pool-3", "performer-sure", "yoso-sampled"])
def test_states_are_made_merged_extended_queried_continued_and_written(
    row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the mode claims to do, it does, before it has tried a thousand problems."""
    done: Counter[str] = Counter()
    kinds = {
        "taylor-4": (aa.PolynomialState, aa.MomentState),
        "mean-pool-3": (aa.LinformerState,),
        "performer-sure": (aa.PerformerState,),
        "yoso-sampled": (aa.YosoState,),
    }[row]
    names = ("query", "attend", "extend", "merge", "save")
    for state in kinds:
        for name in names:
            monkeypatch.setattr(state, name, counted(getattr(state, name), done))
    for index in range(40):
        examine(Cell(row, "state", "float32"), index=index)
    assert set(done) == {f"{state.__name__}.{name}" for state in kinds for name in names}
    assert ROWS[row].method is not None


def counted(call: Any, done: Counter[str]) -> Any:
    def counting(self: Any, *given: Any, **options: Any) -> Any:
        done[f"{type(self).__name__}.{call.__name__}"] += 1
        return call(self, *given, **options)

    return counting
