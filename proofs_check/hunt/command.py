"""The command `hunt` of `python -m proofs_check`.

`proofs_check.__main__` registers it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

_STORE = Path("report/hunt.jsonl")


class Budget(StrEnum):
    """How much work to do."""

    QUICK = "quick"
    FULL = "full"


class LibraryName(StrEnum):
    """Array libraries."""

    NUMPY = "numpy"
    TORCH = "torch"


def hunt(
    budget: Annotated[
        Budget, typer.Option(help="quick: at most 55 s; full: 300,000 problems.")
    ] = Budget.QUICK,
    problems: Annotated[
        int | None, typer.Option(min=1, help="How many, all cells together; costly ones get fewer.")
    ] = None,
    each: Annotated[
        int | None, typer.Option(min=1, help="How many in every cell, also a costly one.")
    ] = None,
    methods: Annotated[
        str, typer.Option(help="Rows of the table, with commas; a star stands for any ending.")
    ] = "",
    modes: Annotated[str, typer.Option(help="Modes, with commas.")] = "",
    dtypes: Annotated[str, typer.Option(help="float16, float32, float64, with commas.")] = "",
    library: Annotated[LibraryName, typer.Option(help="Array library.")] = LibraryName.NUMPY,
    seed: Annotated[int, typer.Option(help="All problems follow from it.")] = 0,
    store: Annotated[
        Path, typer.Option(metavar="PATH", help="JSON lines; a hunt goes on where it was.")
    ] = _STORE,
    time_limit: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="End after so long.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    replay: Annotated[
        str | None,
        typer.Option(metavar="LINE_OR_FILE", help="Repeat a finding, or those of a file."),
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Print what the store holds as Markdown; hunt nothing.")
    ] = False,
) -> None:
    """Hunt for certificates smaller than the true error.

    Exit status 0 when nothing was found, 1 when something was, 2 on misuse, 3 when time was over
    before every cell had its share. The same command goes on.
    """
    from proofs_check.hunt.campaign import PROBLEMS, SECONDS, Hunt, summary
    from proofs_check.hunt.methods import cells
    from proofs_check.hunt.modes.calls import library as load
    from proofs_check.hunt.store import Store, read
    from proofs_check.hunt.table import markdown

    counted = problems is not None or each is not None
    limit = math.inf if counted else SECONDS[budget]
    limit = limit if time_limit is None else time_limit
    if not limit > 0:
        _fail(f"time_limit(={time_limit}) must be positive: give seconds", as_json)
    try:
        if replay is not None:
            raise typer.Exit(_replayed(replay, as_json))
        if table:
            typer.echo(markdown(list(read(store))))
            return
        load(library.value)  # says what is missing before anything is written
        chosen = cells(
            methods=_names(methods),
            modes=_names(modes),
            dtypes=_names(dtypes),
            library=library.value,
        )
        with Store(store) as opened:
            total = problems or (1 if each else PROBLEMS[budget])
            campaign = Hunt(chosen, seed=seed, problems=total, each=each or 0, store=opened)
            for record in campaign.run(time_limit=limit, jobs=jobs):
                _tell(record["findings"], quiet=as_json)
            found = summary(opened.records, campaign.left)
    except (ValueError, ModuleNotFoundError) as error:
        _fail(str(error), as_json)
    typer.echo(json.dumps(found, indent=1) if as_json else _said(found))
    raise typer.Exit(1 if not found["ok"] else 3 if found["cells left"] else 0)


def _names(given: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in given.split(",") if name.strip())


def _fail(message: str, as_json: bool) -> NoReturn:
    line = f"error: {message}"
    typer.echo(line, err=True)
    if as_json:
        typer.echo(json.dumps({"error": line}))
    raise typer.Exit(2)


def _tell(findings: Sequence[dict[str, Any]], *, quiet: bool) -> None:
    """Print findings as they come, one replayable line each."""
    for finding in findings:
        typer.echo(json.dumps(finding), err=quiet)


def _said(found: dict[str, Any]) -> str:
    kinds = ", ".join(f"{number} {kind}" for kind, number in found["kinds"].items())
    lines = [
        f"{found['problems']:,} problems, {found['refused']:,} refused, {found['rows']:,} rows "
        f"with a bound, {found['undecided']} not decided; findings: {kinds or 'none'}"
    ]
    for test in found["improbable"]:
        lines.append(
            f"{test['row']}: {test['failed']} of {test['calls']} calls failed where "
            f"{test['allowed']:g} is allowed (p = {test['p']:.2g})"
        )
    if found["cells left"]:
        lines.append(f"{found['cells left']} cells lack problems: the same command goes on")
    return "\n".join(lines)


def _replayed(given: str, as_json: bool) -> int:
    """Repeat findings; 1 when one came back, 0 when none did."""
    from proofs_check.hunt.chunk import replay

    status = 0
    for line in _lines(given):
        hit, again = replay(line)
        status = 1 if hit else status
        told = {"came back": hit, "asked": line, "findings of the chunk": again}
        if as_json:
            typer.echo(json.dumps(told))
            continue
        typer.echo(f"{'came back' if hit else 'did not come back'}: {json.dumps(line)}")
        for finding in again:
            typer.echo(f"  {json.dumps(finding)}")
    return status


def _lines(given: str) -> Iterator[dict[str, Any]]:
    """Yield the findings of a line of JSON, of a file of such lines, or of a store."""
    text = given
    if not given.lstrip().startswith("{"):
        try:
            text = Path(given).read_text(encoding="utf-8")
        except OSError as error:
            msg = f"replay(={given!r}) is neither a line of JSON nor a file: {error.strerror}"
            raise ValueError(msg) from error
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            found: Any = json.loads(line)
        except ValueError as error:
            msg = f"replay(={line[:60]!r}) is no JSON: give a line that `hunt` printed"
            raise ValueError(msg) from error
        if not isinstance(found, dict):
            msg = f"replay(={line[:60]!r}) is no JSON object: give a line that `hunt` printed"
            raise ValueError(msg)
        yield from found.get("findings", [found])
