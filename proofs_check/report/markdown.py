"""The report as Markdown: the verdicts by paper, what is not as expected, the errata,
where it ran.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from proofs_check.report import coverage, searches
from proofs_check.report import records as view
from proofs_check.report.errata import errata, lines, stronger
from proofs_check.report.wrapping import row as table_row
from proofs_check.running.campaign import Outcome

__all__ = ["markdown"]


def markdown(outcome: Outcome, environment: Mapping[str, str]) -> str:
    """One document, in the order of the web page."""
    return (
        "\n".join(
            [
                *_head(outcome),
                *_verdicts(outcome),
                *_errata(outcome),
                *_searches(outcome),
                *_coverage(outcome),
                *_environment(environment),
            ]
        )
        + "\n"
    )


def _head(outcome: Outcome) -> Iterator[str]:
    summary = view.summary(view.groups(outcome.results))
    yield "# Approximate attention: what is true of it"
    yield ""
    counts = ", ".join(f"{n} {status}" for status, n in summary.counts)
    yield (
        f"{summary.statements} statements: {counts}. Controls: {summary.controls}, of which "
        f"{len(summary.wrong_controls)} came out wrong. Bookkeeping, not counted: "
        f"{summary.bookkeeping}."
    )
    yield ""
    if summary.missing:
        yield (
            f"**Not complete**: {summary.missing} statements wait for experiments that have not "
            "been carried out yet."
        )
        yield ""
    if summary.wrong_controls:
        yield (
            f"**Nothing in this run can be trusted**: {', '.join(summary.wrong_controls)} came out "
            "wrong."
        )
        yield ""
    for contradiction in outcome.contradictions:
        yield f"- **contradiction**: {_inline(contradiction)}"
    for row in summary.unexpected:
        yield (
            f"- **not as expected**: `{row.key}` {row.status} instead of {row.expected}. "
            f"{_inline(row.note)}"
        )
    if outcome.contradictions or summary.unexpected:
        yield ""


def _verdicts(outcome: Outcome) -> Iterator[str]:
    for group in view.groups(outcome.results):
        yield f"## {group.heading}"
        yield ""
        yield "| statement | verdict | grade | scope | tightness |"
        yield "|---|---|---|---|---|"
        for row in group.rows:
            cells = (
                f"`{row.key}` {row.title}",
                f"**{row.status}**",
                row.grade,
                f"steps: {row.scope}" if row.status == "argued" else row.scope,
                row.tightness,
            )
            yield table_row(map(_inline, cells))
        yield ""


def _errata(outcome: Outcome) -> Iterator[str]:
    yield "## Errata"
    yield ""
    for citation, entries in errata(outcome.results).items():
        yield f"*{citation}*"
        yield ""
        for entry in entries:
            for line in lines(entry):
                yield _inline(line)
            yield ""

    yield "## What looks stronger than it is"
    yield ""
    for entries in stronger(outcome.results).values():
        for entry in entries:
            for line in lines(entry):
                yield _inline(line)
            yield ""


def _searches(outcome: Outcome) -> Iterator[str]:
    yield "## Searches that found nothing"
    yield ""
    yield from map(_inline, searches.lines(searches.searches(outcome.results)))
    yield ""


def _coverage(outcome: Outcome) -> Iterator[str]:
    yield "## Coverage"
    yield ""
    for table in coverage.tables(outcome.results):
        yield f"### {coverage.heading(table)}"
        yield ""
        yield from map(_inline, coverage.lines(table))
        yield ""


def _environment(environment: Mapping[str, str]) -> Iterator[str]:
    yield "## Environment"
    yield ""
    for name, value in environment.items():
        yield f"- {name}: {_inline(value)}"


def _inline(text: str) -> str:
    """One line; an inner product is no HTML."""
    return " ".join(text.split()).replace("<", "\\<")
