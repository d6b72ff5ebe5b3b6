"""The pages of what is refuted: errata, which stand in a source, and what only looks stronger.

Each entry says where it stands, what is printed, what refutes it, what is true instead, and what
can be said in its defence.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proofs_check import catalogue
from proofs_check.report.errata import errata, markdown, stronger, stronger_markdown
from proofs_check.report.wrapping import page_of
from proofs_check.running.campaign import Campaign, Outcome
from proofs_check.running.evidence import Evidence
from proofs_check.statements.experiment import Falsify
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

PAGES = Path(__file__).resolve().parents[3] / "docs" / "generated"
REFUTED = {
    k: t
    for k, t in catalogue.theorems().items()
    if t.expected is Status.REFUTED and not catalogue.is_control(k)
}
ERRATA = {k: t for k, t in REFUTED.items() if catalogue.is_erratum(t)}
OTHERS = {k: t for k, t in REFUTED.items() if k not in ERRATA}
BY_HAND = {k: t.by_hand for k, t in REFUTED.items() if t.by_hand is not None}


def _first(some: dict[str, Theorem], kind: str, repaired: bool = False) -> str:
    """The quickest to refute are not known; a search with an example finds it at once."""
    return next(
        k
        for k, t in some.items()
        if t.kind == kind
        and (not repaired or t.repaired_by)
        and any(isinstance(e, Falsify) for e in t.experiments)
    )


REPAIRED = _first(ERRATA, "printed", repaired=True)
ALONE = _first({k: t for k, t in ERRATA.items() if k != REPAIRED}, "printed", repaired=True)
IMPLIED, SHARPENED = _first(OTHERS, "implied"), _first(OTHERS, "sharpness")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    repair = str(REFUTED[REPAIRED].repaired_by)
    campaign = Campaign((REPAIRED, repair, ALONE, IMPLIED, SHARPENED), jobs=1)
    with Evidence(tmp_path_factory.mktemp("errata") / "evidence.sqlite") as store:
        for _ in campaign.run(store):
            pass
        return campaign.conclude(store)


def unwrapped(page: str) -> str:
    """One line, as it was before the page was wrapped, and signs of Markdown in it escaped."""
    joined = re.sub(r"(?<!\n)\n> ", " ", page).replace("\\<", "<").replace("\\*", "*")
    return " ".join(re.sub(r"(^|\s)(\d*)\\(?=[-+*>|#=.)])", r"\1\2", joined).split())


def entry_of(page: str, key: str) -> str:
    found = page[page.index(f"### `{key}`") :]
    return unwrapped(re.split(r"\n##+ ", found)[0])


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_an_entry_has_place_statement_witness_defence_and_repair(outcome: Outcome) -> None:
    entry, theorem = entry_of(markdown(outcome), REPAIRED), REFUTED[REPAIRED]
    assert one_line(theorem.source.place) in entry
    assert one_line(f"> {theorem.statement}") in entry
    hand = BY_HAND[REPAIRED]
    assert one_line(f"- By hand: {hand.instance} {hand.shows}") in entry
    assert re.search(r"- Stored witness: \w+ = .*exceeds the bound <= .* \[[a-z-]+\]\.", entry)
    assert one_line(f"- In its defence: {theorem.defence}") in entry
    repair = catalogue.theorem(str(theorem.repaired_by))
    assert (
        one_line(f"True instead, `{repair.key}` ({repair.expected}): {repair.statement}") in entry
    )


def test_a_repair_outside_the_run_is_named_as_such(outcome: Outcome) -> None:
    entry = entry_of(markdown(outcome), ALONE)
    assert f"`{REFUTED[ALONE].repaired_by}` (not in this run)" in entry


def test_every_entry_says_what_is_true_instead() -> None:
    in_words = {key for key, hand in BY_HAND.items() if hand.instead}
    assert [k for k, t in REFUTED.items() if not t.repaired_by and k not in in_words] == []


def test_only_what_stands_in_a_source_is_an_erratum(outcome: Outcome) -> None:
    page, other = markdown(outcome), stronger_markdown(outcome)
    for key in (REPAIRED, ALONE):
        assert f"### `{key}`" in page
        assert f"### `{key}`" not in other
    for key in (IMPLIED, SHARPENED):
        assert f"### `{key}`" not in page
        assert f"### `{key}`" in other
    assert f"### `{REFUTED[REPAIRED].repaired_by}`" not in page
    assert "controls." not in page + other


def test_no_refuted_statement_is_on_no_page_and_none_on_two(outcome: Outcome) -> None:
    listed = [e.key for entries in errata(outcome.results).values() for e in entries]
    listed += [e.key for entries in stronger(outcome.results).values() for e in entries]
    refuted = [
        r.theorem.key
        for r in outcome.results
        if r.verdict.status is Status.REFUTED and not catalogue.is_control(r.theorem.key)
    ]
    assert sorted(listed) == sorted(refuted)


def test_inner_products_are_no_html(outcome: Outcome) -> None:
    for page in (markdown(outcome), stronger_markdown(outcome)):
        assert re.search(r"(?<!\\)<[A-Za-z/!?]", page) is None


def test_indices_of_whole_rows_are_no_emphasis() -> None:
    assert page_of(["W_{j,*} and W_{*,j}, F_*j"]) == "W_{j,\\*} and W_{\\*,j}, F_\\*j\n"
    assert page_of(["*argued*, **so**, 2 * 3"]) == "*argued*, **so**, 2 * 3\n"


def test_the_pages_in_the_documentation_are_up_to_date() -> None:
    stale = "docs/generated is stale: run `python -m proofs_check pages`"
    texts = {
        name: unwrapped((PAGES / name).read_text(encoding="utf-8"))
        for name in ("errata.md", "sharpness.md")
    }
    for name, some in (("errata.md", ERRATA), ("sharpness.md", OTHERS)):
        text = texts[name]
        assert set(re.findall(r"### `([^`]*)`", text)) == set(some), stale
        assert [k for k, t in some.items() if one_line(t.statement) not in text] == [], stale
        assert [k for k in some if one_line(BY_HAND[k].shows) not in text] == [], stale
        assert [k for k, t in some.items() if one_line(t.defence) not in text] == [], stale
    left_out = [one_line(item.statement) for item in catalogue.unchecked()]
    assert [statement for statement in left_out if statement not in texts["errata.md"]] == [], stale


def test_what_cannot_be_checked_says_why_and_what_stands_in() -> None:
    keys = catalogue.theorems()
    for item in catalogue.unchecked():
        assert not set(item.instead) - set(keys), item.statement
