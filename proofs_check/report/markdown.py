"""The report as Markdown: the verdicts by paper, what is not as expected, the errata,
where it ran.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from proofs_check.report import records as view
from proofs_check.report.errata import errata, lines
from proofs_check.running.campaign import Outcome

__all__ = ["markdown"]


def markdown(outcome: Outcome, environment: Mapping[str, str]) -> str:
    """One document, in the order of the web page."""
    return (
        "\n".join(
            [*_head(outcome), *_verdicts(outcome), *_errata(outcome), *_environment(environment)]
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
        f"{len(summary.wrong_controls)} came out wrong."
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
                row.scope,
                row.tightness,
            )
            yield f"| {' | '.join(_inline(cell).replace('|', chr(92) + '|') for cell in cells)} |"
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


def _environment(environment: Mapping[str, str]) -> Iterator[str]:
    yield "## Environment"
    yield ""
    for name, value in environment.items():
        yield f"- {name}: {_inline(value)}"


def _inline(text: str) -> str:
    """One line; an inner product is no HTML."""
    return " ".join(text.split()).replace("<", "\\<")
