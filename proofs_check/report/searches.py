"""Searches that found nothing, in one table: how many tries, and how near they came.

A search can refute and never prove. What it tried and how near it came is all that it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proofs_check import catalogue
from proofs_check.report.records import number
from proofs_check.report.wrapping import flowing, page_of, row
from proofs_check.running.campaign import Outcome, Result
from proofs_check.statements.experiment import Falsify
from proofs_check.statements.verdict import Status

__all__ = ["Search", "lines", "markdown", "searches"]

_OPENING = """\
# Searches that found nothing

A search for a counterexample can refute a statement and never prove it. Each line is one search
that found none: how many instances it tried, and the largest measured / bound among them. At 1 the
bound would be attained, above 1 the statement would be false; far below 1 the bound is cautious, or
the search did not get near. The statements with no other experiment come first: they are
inconclusive, whatever the number of tries.

This page is written by `python -m proofs_check pages`.
"""


@dataclass(frozen=True, kw_only=True)
class Search:
    """One line of the table. All fields are text but `alone`.

    Parameters
    ----------
    key, title, status
        The statement and its verdict.
    alone
        Whether the statement rests on searches only.
    scope, tried, nearest
        What was searched, how many instances, and the largest measured / bound.
    """

    key: str
    title: str
    status: str
    alone: bool
    scope: str
    tried: str
    nearest: str


def searches(results: Sequence[Result]) -> list[Search]:
    """Every search that found nothing, those alone first; controls are left out."""
    found = [line for result in results for line in _lines(result)]
    return sorted(found, key=lambda line: not line.alone)


def _lines(result: Result) -> Iterator[Search]:
    theorem = result.theorem
    if catalogue.is_control(theorem.key) or result.verdict.status is Status.REFUTED:
        return
    alone = all(isinstance(experiment, Falsify) for experiment in theorem.experiments)
    for experiment, verdict in zip(theorem.experiments, result.verdicts, strict=True):
        if not isinstance(experiment, Falsify) or verdict.status is Status.REFUTED:
            continue
        yield Search(
            key=theorem.key,
            title=theorem.title,
            status=str(result.verdict.status),
            alone=alone,
            scope=experiment.scope,
            tried=str(verdict.facts.get("tried", "–")),
            nearest=number(verdict.tightness) or "–",
        )


def lines(found: Sequence[Search]) -> Iterator[str]:
    """The table as Markdown."""
    yield "| statement | verdict | searched | tries | nearest |"
    yield "|---|---|---|--:|--:|"
    for line in found:
        title = f"`{line.key}` {line.title}"
        yield row((title, line.status, line.scope, line.tried, line.nearest))


def markdown(outcome: Outcome) -> str:
    """The page for a campaign."""
    found = searches(outcome.results)
    page = [flowing(_OPENING)]
    for heading, alone in (("No other experiment", True), ("Beside other experiments", False)):
        page += [f"## {heading}", "", *lines([s for s in found if s.alone is alone]), ""]
    return page_of(page[:-1])
