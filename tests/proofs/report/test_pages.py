"""The pages of searches, coverage and mutants say what the catalogue and a run say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proofs_check import catalogue
from proofs_check.report import coverage, mutants, searches
from proofs_check.running.campaign import Campaign, Outcome, Result
from proofs_check.statements.coverage import ABSENCES
from proofs_check.statements.experiment import Falsify
from proofs_check.statements.verdict import Status, Verdict, inconclusive

PAGES = Path(__file__).resolve().parents[3] / "docs" / "generated"
STALE = "docs/generated is stale: run `python -m proofs_check pages`"


def made_up(status: Status) -> Verdict:
    if status is Status.INCONCLUSIVE:
        return inconclusive("not refuted in 7 tries", tightness=0.5, facts={"tried": 7})
    grade = "statistical" if status is Status.SUPPORTED else "counted"
    witness = {"size": 3} if status is Status.REFUTED else None
    return Verdict(status=status, grade=grade, scope="n = 2", witness=witness)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """Every theorem with the verdict expected of it, and searches that find nothing, made up."""
    campaign, results = Campaign(), []
    for key, theorem in campaign.theorems.items():
        whole = made_up(theorem.expected)
        nothing = made_up(Status.INCONCLUSIVE)
        verdicts = tuple(
            nothing if isinstance(e, Falsify) and theorem.expected is not Status.REFUTED else whole
            for e in theorem.experiments
        )
        units = tuple(unit for unit in campaign.units if unit.theorem == key)
        results.append(Result(theorem=theorem, verdict=whole, verdicts=verdicts, units=units))
    return Outcome(results=tuple(results), failed_controls=(), contradictions=())


def page(name: str) -> str:
    return (PAGES / name).read_text(encoding="utf-8")


# --- searches -------------------------------------------------------------------------------------


def test_every_search_that_found_nothing_is_in_the_table(outcome: Outcome) -> None:
    found = searches.searches(outcome.results)
    expected = [
        (key, e.scope)
        for key, t in catalogue.theorems().items()
        for e in t.experiments
        if isinstance(e, Falsify)
        and t.expected is not Status.REFUTED
        and not catalogue.is_control(key)
    ]
    assert sorted((line.key, line.scope) for line in found) == sorted(expected)
    assert {line.tried for line in found} == {"7"}
    assert {line.nearest for line in found} == {"0.500"}


def test_statements_with_nothing_but_searches_come_first(outcome: Outcome) -> None:
    found = searches.searches(outcome.results)
    alone = [line.alone for line in found]
    assert alone == sorted(alone, reverse=True)
    assert any(alone)
    for line in found:
        kinds = {type(e) for e in catalogue.theorem(line.key).experiments}
        assert line.alone == (kinds == {Falsify})


def test_the_page_of_searches_is_up_to_date(outcome: Outcome) -> None:
    listed = set(re.findall(r"^\| `([^`]*)`", page("searches.md"), re.MULTILINE))
    assert listed == {line.key for line in searches.searches(outcome.results)}, STALE


# --- coverage -------------------------------------------------------------------------------------


def test_every_place_is_in_the_table_with_its_statements_or_a_reason(outcome: Outcome) -> None:
    tables = {table.name: table for table in coverage.tables(outcome.results)}
    assert list(tables) == list(catalogue.coverage())
    for name, places in catalogue.coverage().items():
        table = tables[name]
        assert [p.place for p in table.places] == [p.place for p in places]
        for shown, place in zip(table.places, places, strict=True):
            assert [key for key, _ in shown.entries] == list(place.entries)
            assert shown.absence.startswith(place.absence)
            assert place.why in shown.absence
        assert sum(n for _, n in table.counts) == len(places)
        assert [word for word, _ in table.counts] == ["checked", *ABSENCES]


def test_a_place_shows_the_verdict_of_the_run(outcome: Outcome) -> None:
    status = {r.theorem.key: str(r.verdict.status) for r in outcome.results}
    shown = [e for t in coverage.tables(outcome.results) for p in t.places for e in p.entries]
    assert shown
    assert all(status.get(key, "not in this run") == word for key, word in shown)


def test_the_page_of_coverage_is_up_to_date() -> None:
    text = " ".join(page("coverage.md").replace("\\<", "<").replace("\\|", "|").split())
    for places in catalogue.coverage().values():
        for place in places:
            assert f"| {' '.join(place.place.split())} |" in text, STALE
            assert all(f"`{key}`" in text for key in place.entries), STALE


# --- mutants --------------------------------------------------------------------------------------


def test_a_mutant_is_shown_with_its_factor_and_a_repair_with_its_tries() -> None:
    keys = ("controls.enclose-true", "controls.count-true", "controls.falsify-false")
    lines = {m.key: m for m in mutants.mutants({k: catalogue.theorem(k) for k in keys})}
    assert {m.verdict for m in lines.values()} == {"refuted"}
    assert lines["controls.enclose-true"].factor == "1.22"
    assert lines["controls.count-true"].factor == "1.20"
    assert lines["controls.falsify-false"].factor == "–"
    text = "\n".join(mutants.lines(list(lines.values())))
    assert text.index("controls.count-true") < text.index("## Refuted statements")
    assert text.index("## Refuted statements") < text.index("controls.falsify-false")


def test_the_page_of_mutants_is_up_to_date() -> None:
    listed = set(re.findall(r"^\| `([^`]*)`", page("mutants.md"), re.MULTILINE))
    assert listed == {k for k in catalogue.theorems() if not catalogue.is_control(k)}, STALE
    assert "inconclusive)" not in page("mutants.md")
