"""The hunt on trial: wrong certificates that it must notice, and those that it is known to miss.

What is missed stands here too, so that the list in `proofs_check.hunt.table` stays honest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wrong_methods import (
    mask_ignored,
    not_causal,
    notices,
    scaled,
    without_rounding,
    wrong_row,
)

from proofs_check.hunt import chunk
from proofs_check.hunt.claims import Claim, row_claim
from proofs_check.hunt.judge import Judgement, _hold, judge
from proofs_check.hunt.methods import ROWS, Cell
from proofs_check.hunt.modes.calls import library

TENTH = (
    "exact",
    "taylor-4",
    "taylor-4-uncentred",
    "taylor-1e-4",
    "chebyshev-4",
    "mean-pool-3",
    "max-pool-3",
    "fitted-3",
    "nystrom-3",
    "clustered-2",
    "bert-lsh-only",
    "lsh-softmax",
    "yoso-expectation",
)
"""Rows whose bounds are near enough to the truth for a tenth of them to be caught at once."""


@pytest.mark.parametrize("name", TENTH)
def test_a_tenth_of_a_bound_is_noticed(name: str) -> None:
    found = notices(name, scaled(0.1), chunks=15)
    assert found is not None
    assert found["kind"] == "violation"
    assert found["ratio"] > 1


@pytest.mark.parametrize(
    ("name", "factor"),
    [("exact", 0.01), ("taylor-4", 0.1), ("mean-pool-3", 0.1), ("minimax-3-plug-in", 0.1)],
)
def test_a_bound_on_a_gradient_that_is_too_small_is_noticed(name: str, factor: float) -> None:
    assert notices(name, scaled(factor), mode="gradient", chunks=15) is not None


@pytest.mark.parametrize(
    ("name", "wrong", "mode"),
    [
        ("exact", without_rounding, "plain"),
        ("taylor-4", without_rounding, "plain"),
        ("mean-pool-3", without_rounding, "plain"),
        ("exact", mask_ignored, "mask"),
        ("taylor-4", mask_ignored, "mask"),
        ("clustered-2", mask_ignored, "mask"),
        ("exact", not_causal, "causal"),
        ("yoso-expectation", not_causal, "causal"),
        ("exact", mask_ignored, "gradient"),
    ],
)
def test_what_was_left_out_is_noticed(name: str, wrong: Callable[[Any], Any], mode: str) -> None:
    assert notices(name, wrong, mode=mode, chunks=6) is not None


@pytest.mark.parametrize("name", ["fitted-3", "nystrom-3", "max-pool-3"])
def test_gradients_without_a_bound_are_known_to_be_missed(name: str) -> None:
    """There is nothing to be too small: the certificates of these gradients are infinite."""
    assert notices(name, scaled(1e-3), mode="gradient", chunks=3) is None


def test_a_sampled_bound_is_judged_over_a_campaign_only() -> None:
    """One event proves nothing: the row is counted, and the exact test finds it."""
    from proofs_check.hunt.campaign import improbable

    assert notices("row-sample-sure", scaled(1e-3), chunks=4) is None
    cell, row = (
        Cell("row-sample-sure", "plain", "float32"),
        wrong_row("row-sample-sure", scaled(1e-3)),
    )
    assert improbable([chunk.examine(cell, index=i, row=row) for i in range(8)])
    sound = [chunk.examine(cell, index=i) for i in range(8)]
    assert sum(tried for r in sound for tried, _ in r["trials"].values()) > 8
    assert not improbable(sound)


HUNT_WITH_A_FAULT = """
import sys
from proofs_check.faults.listed import FAULTS
from proofs_check.faults.worker import FaultedFinder
sys.meta_path.insert(0, FaultedFinder(FAULTS[sys.argv[1]]))
from proofs_check.hunt.chunk import examine
from proofs_check.hunt.methods import Cell
for index in range(4):
    for mode in ("causal", "mask", "gradient"):
        for row in ("exact", "taylor-4", "mean-pool-3", "bert-lsh-only"):
            if mode in ("gradient", "mask") or row != "mean-pool-3":
                for found in examine(Cell(row, mode, "float32"), index=index)["findings"]:
                    sys.exit(found["kind"])
"""


@pytest.mark.parametrize("fault", ["perturbation.osc-halved", "problem.scale"])
def test_faults_in_the_code_of_bounds_are_found(fault: str) -> None:
    """Without knowing where to look, and without the checks that are meant for them."""
    command = [sys.executable, "-c", HUNT_WITH_A_FAULT, fault]
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": root},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (1, "violation")


# --- every kind of finding, by a method made for it -----------------------------------------------


class Odd:
    """`Exact`, with something done to its result or its inputs."""

    randomised = False
    why_not_causal = ""
    why_no_scale = ""

    def __init__(self, act: Callable[[Any, Any], Any]) -> None:
        self.act = act

    def compute(self, problem: Any, rng: Any) -> Any:
        return self.act(problem, ROWS["exact"].method.compute(problem, rng))


def seen(act: Callable[[Any, Any], Any]) -> Judgement:
    cell = Cell("exact", "plain", "float64")
    row = wrong_row("exact", lambda _: Odd(act))
    posed, _ = chunk.posed_for(cell, 0, 1, row)
    return judge(cell, row, posed, library("numpy"))


def test_nan_under_a_bound_is_found() -> None:
    """By the claim itself: `attention` takes the bound away wherever a value is not finite."""
    value, bounds = np.ones((2, 3, 1)), np.ones((2, 3))
    value[1, 2], value[0, 0], bounds[0, 0] = np.nan, np.nan, np.inf
    found = Judgement(ratios=np.zeros(2))
    _hold(row_claim("out", value, bounds, None), found)
    ((kind, item),) = [(f.kind, f.item) for f in found.findings]
    assert (kind, item) == ("nan", 1)


def test_another_dtype_is_found() -> None:
    from dataclasses import replace

    found = seen(lambda _, out: replace(out, value=out.value.astype(np.float32)))
    assert "dtype" in {f.kind for f in found.findings}


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("division by zero"), ValueError("no colon and no remedy")]
)
def test_a_crash_is_found(error: Exception) -> None:
    def act(_: Any, __: Any) -> Any:
        raise error

    assert {f.kind for f in seen(act).findings} == {"crash"}


def test_a_refusal_is_none() -> None:
    def act(_: Any, __: Any) -> Any:
        msg = "q(=3) is too large: rescale it"
        raise ValueError(msg)

    found = seen(act)
    assert not found.findings
    assert found.refused == len(found.ratios)


def test_a_warning_is_found() -> None:
    def act(_: Any, out: Any) -> Any:
        import warnings

        warnings.warn_explicit("overflow", RuntimeWarning, "/x/approxattn/odd.py", 7)
        return out

    (finding,) = seen(act).findings
    assert (finding.kind, finding.part) == ("warning", "odd.py:7")


def test_an_input_that_is_written_to_is_found() -> None:
    def act(problem: Any, out: Any) -> Any:
        base = problem.q
        while base.base is not None:
            base = base.base
        base.flags.writeable = True
        base += 1
        return out

    assert "written" in {f.kind for f in seen(act).findings}


def test_balls_decide_where_the_oracle_cannot() -> None:
    """A wide oracle accuses nobody; balls on either side of the bound do what they should."""

    def claim(low: float, high: float) -> Claim:
        return Claim(
            part="out",
            bounds=np.array([[1.0]]),
            finite=np.array([[True]]),
            low=np.array([[0.0]]),
            high=np.array([[np.inf]]),
            enclose=lambda _: (np.array([low]), np.array([high])),
        )

    for ends, kinds, undecided in (
        ((2.0, 3.0), ["violation"], 0),
        ((0.1, 0.2), [], 0),
        ((0.5, 1.5), [], 1),
    ):
        found = Judgement(ratios=np.zeros(1))
        _hold(claim(*ends), found)
        assert [f.kind for f in found.findings] == kinds
        assert found.undecided == undecided


def test_an_estimated_error_accuses_nobody_without_balls() -> None:
    claim = Claim(
        part="out",
        bounds=np.array([[1.0], [1.0]]),
        finite=np.ones((2, 1), bool),
        low=np.array([[5.0], [5.0]]),
        high=np.array([[6.0], [6.0]]),
        enclose=lambda item: (np.array([3.0]), np.array([4.0])) if item else None,
        proved=False,
    )
    found = Judgement(ratios=np.zeros(2))
    _hold(claim, found)
    assert [(f.item, f.ratio) for f in found.findings] == [(1, 3.0)]
    assert found.undecided == 1
    assert found.ratios.tolist() == [0.0, 3.0]
