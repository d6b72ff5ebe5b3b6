"""The coverage of each paper, place by place: checked by which statements, or why by none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from proofs_check import catalogue
from proofs_check.report.wrapping import flowing, page_of, row
from proofs_check.running.campaign import Outcome, Result
from proofs_check.statements.coverage import ABSENCES, Place

__all__ = ["Covered", "Table", "heading", "lines", "markdown", "tables"]

_OPENING = """\
# Coverage

What became of each numbered statement of the papers. *Checked*: the statements named say the same,
or a part of it, with the verdict beside each. *Definition*: there is nothing to check. *Not
checkable*: no finite computation decides it, for the reason given. *Unread*: we have not read the
place in the paper's own text, or have not come to it.

This page is written by `python -m proofs_check pages`.
"""


@dataclass(frozen=True, kw_only=True)
class Covered:
    """One place of a paper.

    Parameters
    ----------
    place, says
        Where, and what it says in a few words.
    entries
        Keys of the statements that check it, each with its verdict.
    absence
        Why none does: a word, with a reason where one is given.
    """

    place: str
    says: str
    entries: tuple[tuple[str, str], ...]
    absence: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """One paper: its room, the works that it holds, its places, and how many are of each sort."""

    name: str
    citations: tuple[str, ...]
    places: tuple[Covered, ...]
    counts: tuple[tuple[str, int], ...]


def tables(results: Sequence[Result]) -> list[Table]:
    """One table a paper, in the order of the catalogue; the verdicts are those of this run."""
    status = {r.theorem.key: str(r.verdict.status) for r in results}
    cited = {paper.__name__.rsplit(".", 1)[-1]: _citations(paper) for paper in catalogue.PAPERS}
    return [
        Table(
            name=name,
            citations=cited[name],
            places=tuple(_covered(place, status) for place in places),
            counts=_counts(places),
        )
        for name, places in catalogue.coverage().items()
    ]


def _citations(paper: object) -> tuple[str, ...]:
    """The works that the statements of a room come from, "proved here" left out."""
    theorems = getattr(paper, "THEOREMS", ())
    every = dict.fromkeys(theorem.source.citation for theorem in theorems)
    return tuple(citation for citation in every if re.search(r"\b(19|20)\d\d\b", citation))


def _covered(place: Place, status: Mapping[str, str]) -> Covered:
    return Covered(
        place=place.place,
        says=place.says,
        entries=tuple((key, status.get(key, "not in this run")) for key in place.entries),
        absence=": ".join(part for part in (place.absence, place.why) if part),
    )


def _counts(places: Sequence[Place]) -> tuple[tuple[str, int], ...]:
    checked = sum(bool(place.entries) for place in places)
    absent = ((word, sum(place.absence == word for place in places)) for word in ABSENCES)
    return (("checked", checked), *absent)


def markdown(outcome: Outcome) -> str:
    """The page for a campaign."""
    found = tables(outcome.results)
    page = [flowing(_OPENING), *_overview(found), ""]
    for table in found:
        page += [f"## {heading(table)}", "", *(f"{text}." for text in table.citations), ""]
        page += [*lines(table), ""]
    return page_of(page[:-1])


def heading(table: Table) -> str:
    """Return authors and year, from the name of the room."""
    *authors, year = table.name.split("_")
    return f"{' & '.join(name.capitalize() for name in authors)} {year}"


def _overview(found: Sequence[Table]) -> Iterator[str]:
    yield f"| paper | places | checked | {' | '.join(ABSENCES)} |"
    yield "|---|" + "--:|" * (2 + len(ABSENCES))
    for table in found:
        yield row((heading(table), str(len(table.places)), *(str(n) for _, n in table.counts)))


def lines(table: Table) -> Iterator[str]:
    """One paper's table as Markdown."""
    yield "| place | says | in the catalogue |"
    yield "|---|---|---|"
    for place in table.places:
        there = ", ".join(f"`{key}` ({status})" for key, status in place.entries)
        yield row((place.place, place.says, there or place.absence))
