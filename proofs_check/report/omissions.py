"""What the catalogue still lacks: kinds, defences, places. The test suite wants none of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType

from proofs_check import catalogue
from proofs_check.statements.experiment import Count, Enclose, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

__all__ = ["omissions"]


def omissions(papers: Iterable[ModuleType] = (*catalogue.PAPERS, *catalogue.TIMED)) -> list[str]:
    """What entries and rooms still lack, a sentence each; the test suite wants none.

    Parameters
    ----------
    papers : iterable of module
        Each with ``THEOREMS``; those that are papers with ``COVERAGE`` too.
    """
    papers = list(papers)
    by_key = {entry.key: entry for paper in papers for entry in paper.THEOREMS}
    lacking = [f"{entry.key} {what}" for entry in by_key.values() for what in _lacks(entry)]
    for paper in papers:
        if paper not in (*catalogue.OWN, *catalogue.TIMED):
            name = paper.__name__.rsplit(".", 1)[-1]
            lacking += [f"{name} {what}" for what in _uncovered(paper, by_key)]
    return lacking


def _lacks(entry: Theorem) -> Iterable[str]:
    """What an entry does not say of itself, or says too much of."""
    if catalogue.is_control(entry.key):
        return
    if entry.expected is Status.REFUTED and entry.kind is None:
        yield "is refuted and has no kind: printed, code, implied or sharpness"
    if catalogue.is_erratum(entry) and not entry.defence:
        yield "is an erratum and has no defence: the best that can be said for the source's text"
    deciding = [e for e in entry.experiments if isinstance(e, Symbolic | Enclose | Count)]
    if entry.expected is Status.PROVED and all(e.covers == "step" for e in deciding):
        yield "is expected to be proved, but no experiment decides the statement itself"


def _uncovered(paper: ModuleType, by_key: Mapping[str, Theorem]) -> Iterable[str]:
    """Where a paper's table of coverage and its theorems do not fit together."""
    places = getattr(paper, "COVERAGE", ())
    if not places:
        yield "has no COVERAGE: one Place for each numbered statement of the paper"
        return
    named = {key for place in places for key in place.entries}
    for key in sorted(named - by_key.keys()):
        yield f"covers a place by {key}, which does not exist"
    for key in (entry.key for entry in paper.THEOREMS):
        if key not in named:
            yield f"names {key} at no place of its COVERAGE"
