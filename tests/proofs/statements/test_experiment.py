"""Experiments, sources and theorems are checked when they are built."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from proofs_check import (
    Assumption,
    Count,
    Enclose,
    Falsify,
    Plan,
    Sample,
    Scale,
    Source,
    Status,
    Symbolic,
    Theorem,
)
from proofs_check.statements.theorem import ByHand
from proofs_check.statements.unchecked import Unchecked


def anything(*_: Any) -> Any:
    return ()


def positive(case: Any) -> bool:
    return bool(case["x"] > 0)


PLAN = Plan(n=100, sampler="a coin")
FALSIFY = {
    "instances": anything,
    "measured": anything,
    "bound": anything,
    "confirm": anything,
    "scope": "x",
}
SAMPLE = {"draw": anything, "claim": "probability <=", "target": 0.5, "plan": PLAN, "scope": "x"}


@pytest.mark.parametrize(
    ("kind", "fields", "complaint"),
    [
        (Symbolic, {"identities": anything, "scope": ""}, "scope"),
        (Symbolic, {"identities": anything, "scope": "x", "grade": "ball"}, "grade"),
        (Enclose, {"scope": "x"}, "either"),
        (Enclose, {"scope": "x", "lhs": anything, "rhs": anything}, "either"),
        (Enclose, {"scope": "x", "certify": anything, "box": ((0, 1),)}, "either"),
        (Enclose, {"scope": "x", "lhs": anything, "rhs": anything, "box": ((1, 0),)}, "empty"),
        (Enclose, {"scope": "x", "certify": anything, "relation": ">="}, "relation"),
        (Enclose, {"scope": "x", "certify": anything, "radius": Fraction(-1)}, "radius"),
        (Falsify, FALSIFY | {"confirm": lambda case: (case, 0)}, "fresh process"),
        (Falsify, FALSIFY | {"scope": ""}, "scope"),
        (Falsify, FALSIFY | {"tries": 0}, "tries"),
        (Assumption, {"text": "x > 0", "predicate": lambda case: case["x"] > 0}, "fresh process"),
        (Assumption, {"text": ""}, "text"),
        (Plan, {"n": 0, "sampler": "x"}, "n\\(=0\\)"),
        (Plan, {"n": 9, "sampler": "x", "alpha": 0.7}, "alpha"),
        (Plan, {"n": 9, "sampler": ""}, "sampler"),
        (Sample, SAMPLE | {"claim": "p <="}, "claim"),
        (Sample, SAMPLE | {"target": 1.5}, "probability"),
        (Sample, SAMPLE | {"claim": "mean ="}, "margin"),
        (Sample, SAMPLE | {"plan": Plan(n=100, sampler="x", margin=0.1)}, "margin"),
        (
            Sample,
            SAMPLE | {"claim": "mean <=", "plan": Plan(n=50, sampler="x")},
            "twice the blocks",
        ),
        (Count, {"measured": anything, "formula": anything, "sizes": (), "scope": "x"}, "sizes"),
        (
            Scale,
            {"workload": anything, "sizes": (1, 2, 2, 3), "slope": (1, 2), "scope": "x"},
            "sizes",
        ),
        (
            Scale,
            {"workload": anything, "sizes": (1, 2, 3, 4), "slope": (2, 1), "scope": "x"},
            "slope",
        ),
    ],
)
def test_experiments_are_checked(kind: Any, fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        kind(**fields)


SOURCE = {"citation": "Author, Title, 2020", "place": "Theorem 1", "fidelity": "corrected"}
COUNT = Count(measured=anything, formula=anything, sizes=(1,), scope="x")
THEOREM = {
    "key": "author20.theorem-1",
    "title": "t",
    "statement": "s",
    "source": Source(**SOURCE),
    "experiments": (COUNT,),
    "expected": "proved",
    "mutant": COUNT,
}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"citation": ""}, "citation"),
        ({"place": ""}, "place"),
        ({"fidelity": "roughly"}, "fidelity"),
        ({"fidelity": "verbatim"}, "wording_verified"),
    ],
)
def test_sources_are_checked(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Source(**(SOURCE | fields))


def test_a_source_says_when_its_wording_was_not_read() -> None:
    assert "wording unverified" in str(Source(**SOURCE))
    assert "wording unverified" not in str(Source(**(SOURCE | {"wording_verified": True})))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"key": "Theorem 1"}, "key"),
        ({"key": "nodot"}, "key"),
        ({"statement": ""}, "statement"),
        ({"experiments": ()}, "experiments"),
        ({"expected": "true"}, "true"),
        ({"repaired_by": "author20.other"}, "repaired_by"),
        ({"by_hand": ByHand(instance="x = 0", shows="0 > 0 is false")}, "by_hand"),
        (
            {
                "experiments": (
                    Falsify(**FALSIFY, assumptions=(Assumption(text="x > 0", predicate=positive),)),
                )
            },
            "assumes what the theorem does not",
        ),
    ],
)
def test_theorems_are_checked(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Theorem(**(THEOREM | fields))


@pytest.mark.parametrize(
    ("kind", "fields", "complaint"),
    [
        (ByHand, {"instance": "", "shows": "1 > 0"}, "instance"),
        (ByHand, {"instance": "x = 1", "shows": ""}, "shows"),
        (Unchecked, {"statement": "", "source": "x", "reason": "No."}, "statement"),
        (Unchecked, {"statement": "x", "source": "", "reason": "No."}, "source"),
        (Unchecked, {"statement": "x", "source": "x", "reason": "no"}, "full stop"),
    ],
)
def test_what_is_said_in_words_is_complete(
    kind: Any, fields: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        kind(**fields)


def test_a_theorem_is_frozen_data() -> None:
    theorem = Theorem(**THEOREM)
    assert theorem.expected is Status.PROVED
    with pytest.raises(AttributeError):
        theorem.key = "other.key"  # type: ignore[misc]
