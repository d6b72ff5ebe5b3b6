"""Experiments, sources and theorems are checked when they are built."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any, get_args

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
from proofs_check.statements.coverage import Place
from proofs_check.statements.experiment import Experiment
from proofs_check.statements.theorem import KINDS, ByHand
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
    "covers": "statement",
    "scope": "x",
}
SAMPLE = {
    "draw": anything,
    "claim": "probability <=",
    "target": 0.5,
    "plan": PLAN,
    "covers": "statement",
    "scope": "x",
}


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
        (Symbolic, {"identities": anything, "scope": "x", "covers": "all"}, "covers"),
        (Falsify, FALSIFY | {"covers": "step"}, "what it cannot decide"),
        (Sample, SAMPLE | {"covers": "step"}, "what it cannot decide"),
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
    about = {} if kind in (Assumption, Plan) else {"covers": "statement"}
    with pytest.raises(ValueError, match=complaint):
        kind(**(about | fields))


@pytest.mark.parametrize("kind", get_args(Experiment))
def test_no_experiment_keeps_quiet_about_what_it_covers(kind: Any) -> None:
    with pytest.raises(TypeError, match="covers"):
        kind(scope="x")


SOURCE = {"citation": "Author, Title, 2020", "place": "Theorem 1", "fidelity": "corrected"}
COUNT = Count(measured=anything, formula=anything, sizes=(1,), covers="statement", scope="x")
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
        ({"kind": "implied"}, "kind"),
        ({"defence": "it may be meant otherwise"}, "defence"),
        ({"expected": "refuted", "kind": "wrong"}, "none of"),
        ({"expected": "refuted", "kind": "printed"}, "needs wording_verified=True"),
        ({"expected": "refuted", "kind": "code"}, "needs wording_verified=True"),
        ({"expected": "refuted", "bookkeeping": True}, "bookkeeping"),
        ({"expected": "argued"}, "covers='step'"),
        ({"expected": "refuted", "repaired": Falsify(**FALSIFY)}, "over the same instances"),
        (
            {
                "expected": "refuted",
                "experiments": (Falsify(**FALSIFY, tries=10),),
                "repaired": Falsify(**FALSIFY, tries=20),
            },
            "over the same instances",
        ),
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


def test_a_theorem_says_what_its_experiments_are_about() -> None:
    step = Count(measured=anything, formula=anything, sizes=(1,), covers="step", scope="x")
    theorem = Theorem(**(THEOREM | {"experiments": (COUNT, step), "expected": "argued"}))
    assert theorem.covers == ("statement", "step")


@pytest.mark.parametrize("kind", KINDS)
def test_a_refuted_statement_is_of_some_kind_and_names_the_search_it_was_repaired_by(
    kind: str,
) -> None:
    search = Falsify(**FALSIFY, examples=({"x": 1},))
    fields = {
        "source": Source(**(SOURCE | {"wording_verified": True})),
        "expected": "refuted",
        "experiments": (search,),
        "kind": kind,
        "repaired": replace(search, bound=positive, scope="a larger bound"),
        "defence": "it may be meant otherwise",
    }
    assert Theorem(**(THEOREM | fields)).kind == kind


@pytest.mark.parametrize(
    ("kind", "fields", "complaint"),
    [
        (ByHand, {"instance": "", "shows": "1 > 0"}, "instance"),
        (ByHand, {"instance": "x = 1", "shows": ""}, "shows"),
        (Place, {"place": "", "says": "x", "entries": ("a.b",)}, "place"),
        (Place, {"place": "Lemma 1", "says": "", "entries": ("a.b",)}, "says"),
        (Place, {"place": "Lemma 1", "says": "x"}, "exactly one"),
        (
            Place,
            {"place": "Lemma 1", "says": "x", "entries": ("a.b",), "absence": "unread"},
            "exactly one",
        ),
        (Place, {"place": "Lemma 1", "says": "x", "absence": "not checkable"}, "why"),
        (Place, {"place": "Lemma 1", "says": "x", "absence": "forgotten"}, "none of"),
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
