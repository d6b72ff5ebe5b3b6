"""What the commands print: tables, colours, JSON, and text that any terminal can take."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from approxattn.testing import Examination
    from proofs_check.running.campaign import Outcome, Result
    from proofs_check.statements.theorem import Theorem

__all__ = [
    "accept_any_text",
    "as_data",
    "examination_data",
    "print_code",
    "print_json",
    "print_list",
    "print_outcome",
    "print_text",
    "print_theorem",
    "theorem_data",
]

_COLOURS = {
    "proved": "green",
    "argued": "blue",
    "refuted": "red",
    "supported": "cyan",
    "inconclusive": "yellow",
}
_WIDTH = 160
"""Columns where neither a terminal nor COLUMNS says how many there are. *Chosen*."""


def accept_any_text() -> None:
    """Let standard output replace what its encoding cannot write, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def print_text(text: str) -> None:
    """Print a line or more as they are."""
    sys.stdout.write(f"{text}\n")


def print_code(code: str) -> None:
    """Print Python that means the same in every encoding: escapes for what it cannot write."""
    encoding = sys.stdout.encoding or "utf-8"
    print_text(code.encode(encoding, "backslashreplace").decode(encoding))


def print_json(data: Any) -> None:
    """Print JSON; outside of UTF-8 with escapes for all that is not ASCII."""
    utf8 = (sys.stdout.encoding or "").lower().replace("_", "-") in ("utf-8", "utf8")
    text = json.dumps(data, sort_keys=True, allow_nan=False, indent=1, ensure_ascii=not utf8)
    # UTF-8 has no half of a surrogate pair, which damaged input may hold; JSON has an escape.
    print_text(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def print_list(theorems: Sequence[Theorem]) -> None:
    """Print a line for each theorem with the verdict expected of it, then how many there are."""
    from rich.markup import escape

    from proofs_check.catalogue import sort_of

    rows = [(t.key, _coloured(str(t.expected)), sort_of(t), escape(t.title)) for t in theorems]
    _print_table(("key", "expected", "", "title"), rows)
    _console().print(_counted(theorems), markup=False, highlight=False)


def _counted(theorems: Sequence[Theorem]) -> str:
    """How many statements, by the verdict expected; controls and bookkeeping apart."""
    from proofs_check.catalogue import TIMED, is_control, is_statement

    timed = {theorem.key for module in TIMED for theorem in module.THEOREMS}
    statements = [t for t in theorems if is_statement(t)]
    controls = sum(is_control(t.key) for t in theorems)
    counts = {name: sum(t.expected == name for t in statements) for name in _COLOURS}
    summary = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
    full = sum(t.key in timed for t in statements)
    left = f" The full budget of `run` alone checks {full} of them." if full else ""
    return (
        f"{_plural(len(statements))}: {summary or 'none'}.{left} Besides: {controls} controls, "
        f"{len(theorems) - controls - len(statements)} of bookkeeping."
    )


def _plural(statements: int) -> str:
    return f"{statements} statement{'' if statements == 1 else 's'}"


def print_theorem(theorem: Theorem) -> None:
    """Print all that the catalogue says of a theorem."""
    console = _console()
    for name, text in _description(theorem):
        console.print(f"[bold]{name}[/bold]", highlight=False)
        console.print(text, markup=False, highlight=False)


def print_outcome(outcome: Outcome) -> None:
    """Print a line for each theorem, then what did not come out as expected."""
    rows = [_row(result) for result in outcome.results]
    _print_table(("theorem", "verdict", "grade", "tightness", "seconds", "source"), rows)
    console = _console()
    for complaint in _complaints(outcome):
        console.print(complaint, markup=False, highlight=False, style="bold red")
    from proofs_check.catalogue import is_control, is_statement

    claims = [r for r in outcome.results if is_statement(r.theorem)]
    counts = {name: sum(r.verdict.status == name for r in claims) for name in _COLOURS}
    summary = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
    controls = sum(is_control(r.theorem.key) for r in outcome.results)
    console.print(
        f"{_plural(len(claims))}: {summary or 'none'}. Besides: {controls} controls, known to be "
        f"true or false, and {len(outcome.results) - controls - len(claims)} of bookkeeping, true "
        "of anything.",
        markup=False,
        highlight=False,
    )
    if outcome.ok:
        console.print("every verdict is as expected", style="bold green")
    if late := sorted({r.theorem.key for r in outcome.results if _given_up(r)}):
        text = (
            f"not finished, by time-out or crash: experiments of {', '.join(late)}; the same "
            "command without --fresh tries them again"
        )
        console.print(text, markup=False, highlight=False, style="bold yellow")
    if outcome.missing:
        text = (
            f"incomplete: {outcome.missing} experiments are left; the same command without --fresh "
            "does them"
        )
        console.print(text, markup=False, highlight=False, style="bold yellow")


def as_data(outcome: Outcome) -> dict[str, Any]:
    """Return what a campaign says, for JSON."""
    results = [
        {
            "key": r.theorem.key,
            "expected": str(r.theorem.expected),
            "as_expected": r.as_expected,
            "source": str(r.theorem.source),
            "verdict": json.loads(r.verdict.to_json()),
        }
        for r in outcome.results
    ]
    return {
        "ok": outcome.ok,
        "failed_controls": list(outcome.failed_controls),
        "contradictions": list(outcome.contradictions),
        "missing": outcome.missing,
        "results": results,
    }


def _complaints(outcome: Outcome) -> Iterator[str]:
    for result in outcome.results:
        if not result.as_expected and not result.waiting:
            yield (
                f"unexpected: {result.theorem.key}: {result.verdict.status}, expected "
                f"{result.theorem.expected}. {result.verdict.note}"
            )
    for contradiction in outcome.contradictions:
        yield f"contradiction: {contradiction}"


def _given_up(result: Result) -> bool:
    from proofs_check.running.unit_process import DIED, LATE

    return any(v.note.startswith((DIED, LATE)) for v in result.verdicts)


def _row(result: Result) -> tuple[str, ...]:
    from rich.markup import escape

    verdict, source = result.verdict, result.theorem.source
    mark = "" if result.as_expected else " [bold red]![/bold red]"
    return (
        result.theorem.key,
        _coloured(str(verdict.status)) + mark,
        verdict.grade,
        "" if verdict.tightness is None else f"{verdict.tightness:.4g}",
        f"{verdict.seconds:.1f}",
        escape(f"{source.citation.split(',')[0]}, {source.place}"),
    )


def examination_data(examination: Examination) -> dict[str, Any]:
    """Return what was found about one function, for JSON; null where a check does not apply."""
    found = [{"name": f.name, "held": f.held, "detail": f.detail} for f in examination.findings]
    return {"subject": examination.subject, "ok": examination.ok, "findings": found}


def theorem_data(theorem: Theorem) -> dict[str, Any]:
    """Return what `print_theorem` prints, for JSON: lists where it has lists."""
    found: dict[str, Any] = {}
    for name, text in _description(theorem):
        lines = text.split("\n")
        listed = all(line.startswith("- ") for line in lines)
        found[name] = [line[2:] for line in lines] if listed else text
    return found


def _description(theorem: Theorem) -> Iterator[tuple[str, str]]:
    from proofs_check.catalogue import sort_of

    yield "key", theorem.key
    yield "statement", theorem.statement
    yield "source", str(theorem.source)
    sort = sort_of(theorem)
    yield "expected verdict", f"{theorem.expected}{f' ({sort})' if sort else ''}"
    lists = {
        "reading": (theorem.reading,) if theorem.reading else (),
        "alternative readings": theorem.alternative_readings,
        "assumptions": tuple(a.text for a in theorem.assumptions),
        "experiments": tuple(
            f"{type(e).__name__} of {'the statement' if e.covers == 'statement' else 'a step'}: "
            f"{e.scope}"
            for e in theorem.experiments
        ),
        "mutant, which must be refuted": (
            f"{type(theorem.mutant).__name__}: {theorem.mutant.scope}",
        ),
        "rests on": theorem.uses,
        "repaired by": (theorem.repaired_by,) if theorem.repaired_by else (),
        "in its defence": (theorem.defence,) if theorem.defence else (),
        "remarks": theorem.remarks,
    }
    for name, lines in lists.items():
        if lines:
            yield name, "\n".join(f"- {line}" for line in lines)


def _coloured(status: str) -> str:
    return f"[{_COLOURS[status]}]{status}[/{_COLOURS[status]}]"


def _print_table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(*headings, box=box.SIMPLE_HEAD, pad_edge=False)
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def _console() -> Console:
    from rich.console import Console

    plain = Console()
    return plain if plain.is_terminal or os.environ.get("COLUMNS") else Console(width=_WIDTH)
