"""Keys are unique, links resolve, nothing rests on itself, and every statement says where it comes
from, what its verdict is about, and of what sort it is.
"""

from __future__ import annotations

import re
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic_theorems
from synthetic_theorems import PROVES, entry

import proofs_check.papers
from proofs_check import Falsify, Status, catalogue
from proofs_check.checkers import check
from proofs_check.checkers.fresh import confirm_here
from proofs_check.report.omissions import omissions
from proofs_check.statements.coverage import Place
from proofs_check.statements.theorem import Source, Theorem

THEOREMS = catalogue.theorems()


def paper(*entries: Theorem, **more: Any) -> Any:
    return types.SimpleNamespace(THEOREMS=entries, __name__="a paper", **more)


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


# --- what is said of each statement ---------------------------------------------------------------


def test_nothing_is_lacking() -> None:
    """Kinds and defences of what is refuted; places of each paper; proofs that are proofs."""
    assert omissions() == []


READ = Source(citation="Author 2020", place="Lemma 1", fidelity="corrected", wording_verified=True)
STEP = replace(PROVES, covers="step")
AT_A_A = (Place(place="Lemma 1", says="it", entries=("a.a",)),)


@pytest.mark.parametrize(
    ("theorem", "more", "complaint"),
    [
        (entry("a.a", PROVES, expected="refuted"), {}, "a.a is refuted and has no kind"),
        (
            replace(entry("a.a", PROVES, expected="refuted"), source=READ, kind="printed"),
            {},
            "a.a is an erratum and has no defence",
        ),
        (entry("a.a", STEP), {}, "no experiment decides the statement"),
        (entry("a.a", PROVES), {"COVERAGE": ()}, "a paper has no COVERAGE"),
        (
            entry("a.a", PROVES),
            {"COVERAGE": (*AT_A_A, Place(place="Lemma 2", says="it", entries=("a.c",)))},
            "a.c, which does not exist",
        ),
        (
            entry("a.a", PROVES),
            {"COVERAGE": (Place(place="Lemma 2", says="it", absence="unread"),)},
            "names a.a at no place",
        ),
    ],
)
def test_what_is_lacking_is_named(theorem: Theorem, more: dict[str, Any], complaint: str) -> None:
    whole = paper(entry("a.b", PROVES), COVERAGE=(Place(place="1", says="x", entries=("a.b",)),))
    assert omissions([whole]) == []
    found = omissions([whole, paper(theorem, **({"COVERAGE": AT_A_A} | more))])
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize("key", catalogue.theorems(timed=True))
def test_every_experiment_says_what_it_is_about(key: str) -> None:
    """And what is expected can come of it: no proof without an experiment that could give it."""
    theorem = catalogue.theorem(key)
    deciding = {
        e.covers
        for e in theorem.experiments
        if type(e).__name__ in ("Symbolic", "Enclose", "Count")
    }
    assert set(theorem.covers) <= {"statement", "step"}
    if theorem.expected is Status.PROVED:
        assert "statement" in deciding
    if theorem.expected is Status.ARGUED:
        assert "step" in deciding


def test_controls_and_bookkeeping_do_not_count() -> None:
    counted = [t for t in catalogue.theorems(timed=True).values() if catalogue.is_statement(t)]
    assert all(not catalogue.is_control(t.key) and not t.bookkeeping for t in counted)
    assert not catalogue.is_statement(replace(entry("a.a", PROVES), bookkeeping=True))


REPAIRED = {k: t for k, t in THEOREMS.items() if t.repaired is not None}


@pytest.mark.parametrize("key", REPAIRED)
def test_the_repaired_statement_passes_the_search_that_refutes(key: str) -> None:
    """By the same instances, the same seed and as many tries; and at the very witness."""
    theorem = REPAIRED[key]
    repaired = theorem.repaired
    assert repaired is not None
    assert check(repaired, rng_seed=1).status is Status.INCONCLUSIVE
    for experiment in theorem.experiments:
        if isinstance(experiment, Falsify):
            found = check(experiment, rng_seed=1)
            assert found.status is Status.REFUTED
            assert found.witness is not None
            assert not confirm_here(repaired, found.witness).violated
