"""What is refuted, as two pages: the errata, and what only looks stronger than it is.

Errata stand in a source, in its text or in its code, and were read there. The others are what a
reader may take from a source that does not say it, and sharpened forms of true bounds.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proofs_check import catalogue
from proofs_check.report.wrapping import flowing, page_of
from proofs_check.running.campaign import Outcome, Result
from proofs_check.statements.experiment import Count, Falsify
from proofs_check.statements.verdict import Status, Verdict

__all__ = ["Erratum", "errata", "lines", "markdown", "stronger", "stronger_markdown"]

_WITNESSES = """\
Every stored witness was confirmed by exact or ball arithmetic, or by an exact count;
`proofs_check replay KEY` prints the Python that does it again, and runs it in a fresh process.
"""

_OPENING = f"""\
# Errata

Statements that are false as they are printed, or as the published code computes them, one section a
paper. We read every one of them in the authors' own text or code. Each entry gives the exact place,
what is printed, the reading that was tested, a witness in two lines to follow by hand, the witness
that is stored, and what is true instead. "In its defence" gives the strongest defence of the text
that we know, and why it does not help. Where we know that a slip is harmless to the theorem it
stands in, the entry says so. {_WITNESSES}
What a source does not say, though it is easily taken from it, and sharpened forms of true bounds
stand on [a page of their own](sharpness.md).

This page is written by `python -m proofs_check errata`.
"""

_STRONGER_OPENING = f"""\
# What looks stronger than it is

Statements that are false, and that no source makes: nothing here is an erratum. {_WITNESSES}
This page is written by `python -m proofs_check pages`.
"""

_STRONGER = {
    "implied": (
        "Easily taken from a source",
        "A reader may well take these from the source named, which does not say them in these "
        "words, or whose words we have not read.",
    ),
    "sharpness": (
        "True bounds made sharper",
        "Nobody claims these. Each shows that a true statement cannot be improved by much, or "
        "needs its hypothesis.",
    ),
}
"""Heading and opening of each section, by the kind of its statements."""

_UNCHECKED = """\
## What cannot be checked

Statements of the papers that no finite computation decides, with the reason, and the finite
statements of the catalogue that stand in for them.
"""

_WIDEST = 200
"""Longest witness shown, in characters; `replay` prints it whole."""


@dataclass(frozen=True, kw_only=True)
class Erratum:
    """One refuted statement, as both pages show it. All fields are text.

    Parameters
    ----------
    key, title, kind
        Which statement, and of what sort; see `proofs_check.statements.theorem.Kind`.
    citation, place
        Exactly where it stands; `verified` says whether the wording was read there.
    printed, reading
        What is printed, in the notation of the project, and how it was read.
    by_hand
        Two lines to follow with pencil and paper, when there are any.
    stored, found, grade
        The witness in the evidence, what it shows, and by which means.
    instead
        What is true instead, each a sentence; `repaired_by` is the key of the entry that says so,
        or empty.
    defence
        The best that can be said for the source's text, and why it does not help; may be empty.
    remarks
        What else there is to say, other readings among them.
    """

    key: str
    title: str
    kind: str
    citation: str
    place: str
    verified: bool
    printed: str
    reading: str
    by_hand: tuple[str, ...]
    stored: str
    found: str
    grade: str
    instead: tuple[str, ...]
    repaired_by: str
    repair_status: str
    defence: str
    remarks: tuple[str, ...]


def errata(results: Sequence[Result]) -> dict[str, list[Erratum]]:
    """What is refuted as it stands in a source, by citation, in the order of the results."""
    papers: dict[str, list[Erratum]] = {}
    for entry in _refuted(results, "printed", "code"):
        papers.setdefault(entry.citation, []).append(entry)
    return papers


def stronger(results: Sequence[Result]) -> dict[str, list[Erratum]]:
    """What is refuted and stands in no source, by kind, in the order of the results."""
    kinds = {kind: _refuted(results, kind) for kind in _STRONGER}
    return {kind: entries for kind, entries in kinds.items() if entries}


def _refuted(results: Sequence[Result], *kinds: str) -> list[Erratum]:
    by_key = {result.theorem.key: result for result in results}
    return [
        _erratum(result, by_key)
        for result in results
        if result.verdict.status is Status.REFUTED and result.theorem.kind in kinds
    ]


def markdown(outcome: Outcome) -> str:
    """The page of the errata for a campaign, with what cannot be checked at all.

    Parameters
    ----------
    outcome : Outcome
        What the campaign says.
    """
    page = [flowing(_OPENING)]
    for citation, entries in errata(outcome.results).items():
        page += [*_heading(citation), ""]
        for entry in entries:
            page += [*lines(entry), ""]
    page += [flowing(_UNCHECKED)]
    for item in catalogue.unchecked():
        page += [f"- **{item.source}**: {item.statement} {item.reason}"]
        if item.instead:
            page += [
                f"  Instead: {', '.join(f'`{key}`' for key in item.instead)}."
                + f" {item.remark}".rstrip()
            ]
    return page_of(page)


def stronger_markdown(outcome: Outcome) -> str:
    """The page of what is refuted and stands in no source."""
    page = [flowing(_STRONGER_OPENING)]
    for kind, entries in stronger(outcome.results).items():
        heading, opening = _STRONGER[kind]
        page += [f"## {heading}", "", opening, ""]
        for entry in entries:
            page += [*lines(entry), ""]
    return page_of(page[:-1])


def _heading(citation: str) -> list[str]:
    """A short heading, authors and year, then the whole citation where it says more."""
    authors = re.match(r".*? & [^,]+(?=, )", citation)
    years = re.findall(r"\b(?:19|20)\d\d\b(?!\.\d)", citation)  # and not the number at arXiv
    if authors is None or not years:
        return [f"## {citation}"]
    return [f"## {authors[0]} {years[-1]}", "", f"{citation}."]


def lines(entry: Erratum) -> Iterator[str]:
    """The entry as Markdown."""
    yield f"### `{entry.key}`: {entry.title}"
    yield ""
    stands_apart = entry.kind in _STRONGER and not entry.place.startswith("not a quotation")
    cited = f"{entry.citation}, " if stands_apart else ""
    unread = "" if entry.verified or entry.kind == "sharpness" else " (wording unverified)"
    yield f"*{cited}{entry.place}*{unread}"
    yield ""
    yield f"> {entry.printed}"
    yield ""
    yield f"- Read as: {entry.reading}." if entry.reading else "- Read literally."
    if entry.by_hand:
        yield f"- By hand: {' '.join(entry.by_hand)}"
    yield f"- Stored witness: {entry.stored}. There: {entry.found} [{entry.grade}]."
    for i, sentence in enumerate(entry.instead):
        named = i == len(entry.instead) - 1 and entry.repaired_by
        yield (
            f"- True instead{f', `{entry.repaired_by}` ({entry.repair_status})' if named else ''}: "
            f"{sentence}"
        )
    if entry.defence:
        yield f"- In its defence: {entry.defence}"
    for remark in entry.remarks:
        yield f"- {remark}"


def _erratum(result: Result, by_key: Mapping[str, Result]) -> Erratum:
    theorem = result.theorem
    experiment, verdict = _strongest(result)
    hand = theorem.by_hand
    repair = by_key.get(theorem.repaired_by or "")
    instead = [hand.instead] if hand and hand.instead else []
    if theorem.repaired_by:
        instead.append(catalogue.theorem(theorem.repaired_by).statement)
    return Erratum(
        key=theorem.key,
        title=theorem.title,
        kind=theorem.kind or "",
        citation=theorem.source.citation,
        place=theorem.source.place,
        verified=theorem.source.wording_verified,
        printed=theorem.statement,
        reading=theorem.reading,
        by_hand=(hand.instance, hand.shows) if hand else (),
        stored=_instance(experiment, verdict),
        found=verdict.note or "the two sides differ",
        grade=verdict.grade,
        instead=tuple(instead),
        repaired_by=theorem.repaired_by or "",
        repair_status=str(repair.verdict.status) if repair else "not in this run",
        defence=theorem.defence,
        remarks=(
            *theorem.remarks,
            *(f"Other reading: {text}" for text in theorem.alternative_readings),
        ),
    )


def _strongest(result: Result) -> tuple[Any, Verdict]:
    """The refuting experiment shown: an exact one if there is any."""
    pairs = zip(result.theorem.experiments, result.verdicts, strict=True)
    refuting = [(e, v) for e, v in pairs if v.status is Status.REFUTED]
    exact = [pair for pair in refuting if pair[1].grade != "statistical"]
    return (exact or refuting)[0]


def _instance(experiment: Any, verdict: Verdict) -> str:
    witness = dict(verdict.witness or {})
    if isinstance(experiment, Falsify | Count):
        witness.pop("formula", None)
    text = ", ".join(f"{name} = {_short(value)}" for name, value in witness.items())
    return text if len(text) <= _WIDEST else textwrap.shorten(text, _WIDEST, placeholder=" ...")


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_short, value)) + "]"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:.6g}"
    return str(value)
