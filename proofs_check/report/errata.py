"""The errata as a page: every refuted statement of a paper, where it stands, a witness, and what is
true instead.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proofs_check import catalogue
from proofs_check.report.wrapping import wrapped
from proofs_check.running.campaign import Outcome, Result
from proofs_check.statements.experiment import Count, Falsify
from proofs_check.statements.verdict import Status, Verdict

__all__ = ["Erratum", "errata", "lines", "markdown"]

_OPENING = """\
# Errata

Statements that are false as they are printed, or as the published code computes them, one section a
paper. Each entry gives the exact place, what is printed, the reading that was tested, a witness in
two lines to follow by hand, the witness that is stored, and what is true instead. Every stored
witness was confirmed by exact or ball arithmetic, or by an exact count; `proofs_check replay KEY`
prints the Python that does it again, and runs it in a fresh process. Where we know that a slip is
harmless to the theorem it stands in, the entry says so. "Wording unverified": the place was not
read in the authors' own text.

This page is written by `python -m proofs_check errata`.
"""

_UNCHECKED = """\
## What cannot be checked

Statements of the papers that no finite computation decides, with the reason, and the finite
statements of the catalogue that stand in for them.
"""

_ASSUMED = "Not printed, but easily assumed"

_WIDEST = 200
"""Longest witness shown, in characters; `replay` prints it whole."""


@dataclass(frozen=True, kw_only=True)
class Erratum:
    """One refuted statement, as both pages show it. All fields are text.

    Parameters
    ----------
    key, title, place
        Which statement, and exactly where it stands; `verified` says whether the wording was read
        there.
    printed, reading
        What is printed, in the notation of the project, and how it was read.
    by_hand
        Two lines to follow with pencil and paper, when there are any.
    stored, found, grade
        The witness in the evidence, what it shows, and by which means.
    instead
        What is true instead, each a sentence; `repaired_by` is the key of the entry that says so,
        or empty.
    remarks
        What else there is to say, other readings among them.
    """

    key: str
    title: str
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
    remarks: tuple[str, ...]


def errata(results: Sequence[Result]) -> dict[str, list[Erratum]]:
    """Refuted statements of papers by citation, in the order of the results; what is not printed
    anywhere comes last.
    """
    by_key = {result.theorem.key: result for result in results}
    papers: dict[str, list[Erratum]] = {}
    assumed = []
    for result in results:
        if result.verdict.status is not Status.REFUTED or catalogue.is_control(result.theorem.key):
            continue
        if result.theorem.source.place.startswith("not a quotation"):
            assumed.append(_erratum(result, by_key))
        else:
            papers.setdefault(result.theorem.source.citation, []).append(_erratum(result, by_key))
    return papers | ({_ASSUMED: assumed} if assumed else {})


def markdown(outcome: Outcome) -> str:
    """The page for a campaign.

    Parameters
    ----------
    outcome : Outcome
        What the campaign says; refuted statements of the catalogue appear, controls do not.
    """
    page = [_OPENING]
    for citation, entries in errata(outcome.results).items():
        page += [*_heading(citation), ""]
        for entry in entries:
            page += [*lines(entry), ""]
    page += [_UNCHECKED]
    for item in catalogue.unchecked():
        page += [f"- **{item.source}**: {item.statement} {item.reason}"]
        if item.instead:
            page += [
                f"  Instead: {', '.join(f'`{key}`' for key in item.instead)}."
                + f" {item.remark}".rstrip()
            ]
    escaped = re.sub(r"<(?=[A-Za-z/!?])", r"\<", "\n".join(page))  # an inner product is no HTML
    return wrapped(escaped) + "\n"


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
    yield f"*{entry.place}*" + ("" if entry.verified else " (wording unverified)")
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
