"""The errata page says of every refuted entry where it stands, what is printed, what refutes it,
and what is true instead.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proofs_check import catalogue
from proofs_check.report.errata import markdown
from proofs_check.running.campaign import Campaign
from proofs_check.running.evidence import Evidence
from proofs_check.statements.verdict import Status

PAGE = Path(__file__).resolve().parents[3] / "docs" / "generated" / "errata.md"
REFUTED = {
    k: t
    for k, t in catalogue.theorems().items()
    if t.expected is Status.REFUTED and not catalogue.is_control(k)
}
BY_HAND = {k: t.by_hand for k, t in REFUTED.items() if t.by_hand is not None}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    campaign = Campaign(
        ("as24.p2-printed", "as24.p2-corrected", "linformer.exp-rank", "yoso.l2-hoeffding"), jobs=1
    )
    with Evidence(tmp_path_factory.mktemp("errata") / "evidence.sqlite") as store:
        for _ in campaign.run(store):
            pass
        return markdown(campaign.conclude(store))


def unwrapped(page: str) -> str:
    """One line, as it was before the page was wrapped and its inner products escaped."""
    joined = re.sub(r"(?<!\n)\n> ", " ", page)
    return " ".join(joined.replace("\\<", "<").split())


def test_an_entry_has_place_statement_witness_and_repair(page: str) -> None:
    entry = page[page.index("### `as24.p2-printed`") :]
    entry = unwrapped(entry[: entry.index("\n## ")])
    theorem = catalogue.theorem("as24.p2-printed")
    assert theorem.source.place in entry
    assert f"> {theorem.statement}" in entry
    hand = BY_HAND["as24.p2-printed"]
    assert f"- By hand: {hand.instance} {hand.shows}" in entry
    assert "Stored witness: q = [[1, 0], [0, 0]], weights = [[9, 1], [5, 5]]" in entry
    assert "exceeds the bound <= 0 [exact-rational]" in entry
    assert (
        "True instead, `as24.p2-corrected` (proved): "
        f"{catalogue.theorem('as24.p2-corrected').statement}"
    ) in entry


def test_a_repair_outside_the_run_is_named_as_such(page: str) -> None:
    entry = page[page.index("### `linformer.exp-rank`") :]
    assert "`ours.polynomial-rank-bound` (not in this run)" in entry[: entry.index("\n## ")]


def test_every_entry_says_what_is_true_instead() -> None:
    in_words = {key for key, hand in BY_HAND.items() if hand.instead}
    assert [k for k, t in REFUTED.items() if not t.repaired_by and k not in in_words] == []


def test_what_is_true_stays_out_and_what_is_not_printed_apart(page: str) -> None:
    assert "### `as24.p2-corrected`" not in page
    assert "controls." not in page
    assert (
        page.index("### `linformer.exp-rank`")
        < page.index("## Not printed")
        < page.index("### `yoso.l2-hoeffding`")
    )


def test_inner_products_are_no_html(page: str) -> None:
    assert "<f_i" not in page.replace("\\<f_i", "")
    assert "\\<f_i, q_i>" in page


def test_the_page_in_the_documentation_is_up_to_date() -> None:
    text = unwrapped(PAGE.read_text(encoding="utf-8"))
    stale = "docs/generated/errata.md is stale: run `python -m proofs_check errata`"
    assert [
        k
        for k, t in REFUTED.items()
        if f"### `{k}`: {t.title}" not in text or t.statement not in text
    ] == [], stale
    assert [k for k in catalogue.theorems() if f"### `{k}`" in text and k not in REFUTED] == [], (
        stale
    )
    assert [k for k, hand in BY_HAND.items() if hand.shows not in text] == [], stale
    assert [item.statement for item in catalogue.unchecked() if item.statement not in text] == [], (
        stale
    )


def test_what_cannot_be_checked_says_why_and_what_stands_in() -> None:
    keys = catalogue.theorems()
    for item in catalogue.unchecked():
        assert not set(item.instead) - set(keys), item.statement
