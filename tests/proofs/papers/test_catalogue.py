"""Keys are unique, links resolve, nothing rests on itself, and every statement says where it comes
from.
"""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Any

import pytest
import synthetic_theorems
from synthetic_theorems import PROVES, entry

import proofs_check.papers
from proofs_check import catalogue
from proofs_check.statements.theorem import Theorem

THEOREMS = catalogue.theorems()


def paper(*entries: Theorem) -> Any:
    return types.SimpleNamespace(THEOREMS=entries, __name__="a paper")


def test_the_catalogue_is_found_by_name_too() -> None:
    assert catalogue.load(p.__name__ for p in catalogue.PAPERS) == THEOREMS


def test_every_statement_left_out_is_collected() -> None:
    papers = (*catalogue.PAPERS, *catalogue.TIMED)
    with_some = {paper.__name__ for paper in papers if hasattr(paper, "UNCHECKED")}
    assert {paper.__name__ for paper in catalogue.LEFT_OUT} == with_some
    files = sorted(Path(str(proofs_check.papers.__file__)).parent.glob("*/unchecked.py"))
    assert {f"proofs_check.papers.{file.parent.name}" for file in files} == with_some
    assert len(catalogue.unchecked()) == len(set(catalogue.unchecked())) > 10


@pytest.mark.parametrize("key", THEOREMS)
def test_entries_are_complete(key: str) -> None:
    theorem = catalogue.theorem(key)
    assert theorem.key == key
    assert len(theorem.statement) > 5
    assert theorem.source.citation == "proved here" or re.search(
        r"\b(19|20)\d\d\b", theorem.source.citation
    ), "no year"
    assert all(
        theorem.mutant != experiment for experiment in theorem.experiments
    ) or catalogue.is_control(key)


def test_an_unknown_key_names_its_neighbours() -> None:
    with pytest.raises(KeyError, match=r"controls\.count-true"):
        catalogue.theorem("controls.count-tru")


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ([entry("a.a", PROVES), entry("a.a", PROVES)], "twice"),
        ([entry("a.a", PROVES, uses=("a.b",))], "does not exist"),
        ([entry("a.a", PROVES, expected="refuted", repaired_by="a.b")], "does not exist"),
        (
            [entry("a.a", PROVES, uses=("a.b",)), entry("a.b", PROVES, uses=("a.a",))],
            "circle: a.a -> a.b -> a.a",
        ),
        ([entry("a.a", PROVES, uses=("a.a",))], "circle"),
    ],
)
def test_broken_catalogues_are_refused(entries: list[Theorem], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        catalogue.collect([paper(*entries)])


def test_a_diamond_is_no_circle() -> None:
    diamond = (
        entry("a.a", PROVES, uses=("a.b", "a.c")),
        entry("a.b", PROVES, uses=("a.d",)),
        entry("a.c", PROVES, uses=("a.d",)),
        entry("a.d", PROVES),
    )
    assert list(catalogue.collect([paper(*diamond)])) == ["a.a", "a.b", "a.c", "a.d"]


def test_controls_cover_every_kind_that_decides() -> None:
    kinds = {
        type(e).__name__
        for key, t in THEOREMS.items()
        if catalogue.is_control(key)
        for e in t.experiments
    }
    assert kinds == {"Symbolic", "Enclose", "Falsify", "Sample", "Count"}


def test_synthetic_theorems_stay_out_of_the_catalogue() -> None:
    assert not {t.key for t in synthetic_theorems.THEOREMS} & set(THEOREMS)
