"""The command line: list, run, show, replay, report, errata, export, audit."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from proofs_check.running.campaign import Outcome, Result
    from proofs_check.statements.theorem import Theorem

# Everything heavy is imported inside the commands: --help answers at once.
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Check what is claimed about approximate attention.",
)

_COLOURS = {"proved": "green", "refuted": "red", "supported": "cyan", "inconclusive": "yellow"}
_DEFAULT_EVIDENCE = Path("report/evidence.sqlite")

Keys = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY]...", help="Theorems; all when none is given.")
]
Key = Annotated[str, typer.Argument(metavar="KEY", help="A theorem, as `list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
EvidencePath = Annotated[
    Path, typer.Option("--evidence", metavar="PATH", help="The evidence store (SQLite).")
]


class BudgetName(StrEnum):
    """How much work to do."""

    QUICK = "quick"
    FULL = "full"


class ReportFormat(StrEnum):
    """The forms of the report."""

    HTML = "html"
    MD = "md"
    JSON = "json"
    JUNIT = "junit"


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="proofs_check")


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """List the theorems with the verdict expected of each."""
    from proofs_check import catalogue

    theorems = catalogue.theorems(timed=True)
    if as_json:
        entries = [
            {"key": t.key, "title": t.title, "expected": str(t.expected), "source": str(t.source)}
            for t in theorems.values()
        ]
        _print_json(entries)
        return
    from rich.markup import escape

    rows = [(t.key, _coloured(str(t.expected)), escape(t.title)) for t in theorems.values()]
    _print_table(("key", "expected", "title"), rows)


@app.command()
def run(
    keys: Keys = None,
    seed: Annotated[int, typer.Option(help="All randomness follows from it.")] = 0,
    budget: Annotated[
        BudgetName, typer.Option(help="How long to search for counterexamples.")
    ] = BudgetName.QUICK,
    as_json: AsJson = False,
    evidence: EvidencePath = _DEFAULT_EVIDENCE,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Do everything anew instead of resuming.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    time_limit: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="End after so long; the same command goes on later."),
    ] = float("inf"),
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A running Dask scheduler whose workers do the work."),
    ] = None,
) -> None:
    """Check theorems; exit 0 when every verdict is the expected one, 1 when not, 2 on misuse, 3
    when experiments are left to do.
    """
    from proofs_check.report.progress import carry_out
    from proofs_check.running.campaign import Campaign
    from proofs_check.running.dask_workers import SchedulerError
    from proofs_check.running.evidence import Evidence
    from proofs_check.running.unit_process import OtherCodeError

    if not time_limit > 0:
        _fail(f"time_limit(={time_limit}) must be positive")

    with _misuse(KeyError):
        campaign = Campaign(
            keys or (), seed=seed, budget=budget.value, jobs=jobs, scheduler=scheduler
        )
    with Evidence(evidence) as store:
        try:
            with _misuse(OtherCodeError), _misuse(SchedulerError):
                carry_out(campaign, store, fresh=fresh, time_limit=time_limit, quiet=as_json)
        except KeyboardInterrupt:
            left = len(campaign.units) - len(campaign.stored(store))
            typer.echo(
                (
                    f"interrupted: {left} of {len(campaign.units)} experiments are left; the same "
                    "command without --fresh does them"
                ),
                err=True,
            )
            raise typer.Exit(130) from None
        outcome = campaign.conclude(store)
    if as_json:
        _print_json(_as_data(outcome))
    else:
        _print_outcome(outcome)
    raise typer.Exit(1 if outcome.wrong else 3 if outcome.missing else 0)


@app.command()
def show(key: Key) -> None:
    """Show a theorem: statement, reading, assumptions, experiments, remarks."""
    from proofs_check import catalogue

    with _misuse(KeyError):
        theorem = catalogue.theorem(key)
    console = _console()
    for name, text in _description(theorem):
        console.print(f"[bold]{name}[/bold]", highlight=False)
        console.print(text, markup=False, highlight=False)


@app.command()
def replay(
    key: Key,
    seed: Annotated[int, typer.Option(help="Seed of the campaign.")] = 0,
    budget: Annotated[BudgetName, typer.Option(help="Budget of the campaign.")] = BudgetName.QUICK,
    evidence: EvidencePath = _DEFAULT_EVIDENCE,
) -> None:
    """Print Python that re-checks what the verdict rests on, and run it in a fresh process."""
    import subprocess
    import sys

    from proofs_check.running.campaign import Campaign
    from proofs_check.running.evidence import Evidence
    from proofs_check.running.replay import source
    from proofs_check.statements.verdict import Status

    with _misuse(KeyError):
        campaign = Campaign((key,), seed=seed, budget=budget.value)
    campaign.units = [unit for unit in campaign.units if unit.theorem == key]
    with Evidence(evidence) as store:
        found = dict(campaign.run(store, record=False))
    refuted = {unit: verdict for unit, verdict in found.items() if verdict.status is Status.REFUTED}
    for unit, verdict in (refuted or found).items():
        code = source(campaign.theorems[key], unit, verdict)
        typer.echo(code)
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        typer.echo("# prints")
        typer.echo((done.stdout + done.stderr).rstrip())
        if done.returncode:
            raise typer.Exit(1)


@app.command()
def report(
    evidence: EvidencePath = _DEFAULT_EVIDENCE,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the report.")] = Path(
        "report"
    ),
    formats: Annotated[
        list[ReportFormat] | None,
        typer.Option("--format", help="Forms to write; all when none is given."),
    ] = None,
) -> None:
    """Write the last campaign's report: a web page (index.html), report.md, report.json and
    junit.xml.
    """
    if not evidence.is_file():
        _fail(f"evidence(={evidence}) does not exist: carry out `python -m proofs_check run` first")
    from proofs_check.report import FILES, write
    from proofs_check.running.campaign import last_outcome
    from proofs_check.running.evidence import Evidence

    with Evidence(evidence) as store, _misuse(LookupError):
        outcome = last_outcome(store)
    with _misuse(ValueError):
        written = write(
            outcome, evidence, out, formats=[f.value for f in formats or ()] or tuple(FILES)
        )
    for path in written:
        typer.echo(str(path))


@app.command()
def errata(
    evidence: EvidencePath = _DEFAULT_EVIDENCE,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the page.")] = Path(
        "docs/generated/errata.md"
    ),
) -> None:
    """Write the refuted statements and their repairs as a page, with what cannot be checked; check
    first what the evidence lacks.
    """
    from proofs_check import catalogue
    from proofs_check.report.errata import markdown
    from proofs_check.running.campaign import Campaign
    from proofs_check.running.evidence import Evidence

    refuted = [t for t in catalogue.theorems().values() if t.expected == "refuted"]
    campaign = Campaign(
        {t.key for t in refuted} | {t.repaired_by for t in refuted if t.repaired_by}
    )
    with Evidence(evidence) as store:
        for _ in campaign.run(store, record=False):
            pass
        outcome = campaign.conclude(store)
    out.write_text(markdown(outcome), encoding="utf-8")
    typer.echo(str(out))
    raise typer.Exit(0 if outcome.ok else 1)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Ends in .csv or .parquet.")],
    evidence: EvidencePath = _DEFAULT_EVIDENCE,
) -> None:
    """Write the last campaign's evidence as a table, one row an experiment."""
    if not evidence.is_file():
        _fail(f"evidence(={evidence}) does not exist: carry out `python -m proofs_check run` first")
    from proofs_check.report.table import write
    from proofs_check.running.evidence import Evidence

    with Evidence(evidence) as store, _misuse(LookupError), _misuse(ValueError):
        count = write(store, out)
    typer.echo(f"{out}: {count} rows")


@app.command()
def audit(
    target: Annotated[
        str, typer.Argument(metavar="PACKAGE:FUNCTION", help="A function of q, k, v.")
    ],
    approximate: Annotated[
        bool, typer.Option("--approximate", help="It approximates: compare with null baselines.")
    ] = False,
    leading: Annotated[
        int, typer.Option(min=0, help="Leading axes that it needs, such as batch and heads.")
    ] = 0,
    scale: Annotated[
        float | None, typer.Option(help="Factor of q . k; 1/sqrt(d) if not given.")
    ] = None,
    square: Annotated[
        bool, typer.Option("--square", help="It needs as many queries as keys.")
    ] = False,
    torch: Annotated[bool, typer.Option("--torch", help="It takes torch tensors.")] = False,
    autograd: Annotated[
        bool, typer.Option("--autograd", help="Its gradients by torch too (with --torch).")
    ] = False,
) -> None:
    """Examine an attention function of NumPy arrays or torch tensors; exit 0 when all checks hold,
    1 when not, 2 on misuse.
    """
    from proofs_check.kit import check_attention

    with _misuse(LookupError):
        function = _find(target)
    with _misuse(ValueError), _misuse(ModuleNotFoundError):
        examination = check_attention(
            function,
            exact=not approximate,
            leading=leading,
            scale=scale,
            square=square,
            framework="torch" if torch else "numpy",
            gradient="autograd" if autograd else None,
        )
    typer.echo(str(examination))
    raise typer.Exit(0 if examination.ok else 1)


@app.command()
def faults(
    keys: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY]...", help="Faults; all when none is given. GROUP. is a group."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes at a time.")] = 2,
    limit: Annotated[float, typer.Option(min=1, help="Seconds for each fault.")] = 600.0,
    control: Annotated[bool, typer.Option(help="Run all checks on the code as it is too.")] = True,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the page there.")] = None,
) -> None:
    """Put deliberate faults into copies of our own methods and see which the checks catch; exit 0
    when 95 % are and the control passes.
    """
    from proofs_check.faults.fault import StaleFaultError
    from proofs_check.faults.run import chosen, gathered, run
    from proofs_check.report.faults import markdown

    found = []
    with _misuse(KeyError), _misuse(StaleFaultError):
        for outcome in run(chosen(keys or ()), jobs=jobs, limit=limit, control=control):
            found.append(outcome)
            verdict = "" if as_json else f"{outcome.check or '-':32s} {outcome.complaint}"
            typer.echo(f"{outcome.key:34s} {verdict}"[:200], err=as_json)
    outcomes = gathered(found)
    if out is not None:
        out.write_text(markdown(outcomes), encoding="utf-8")
    if as_json:
        _print_json(outcomes.as_data())
    else:
        alarm = (
            "passed" if outcomes.sound else f"{outcomes.control.check} {outcomes.control.complaint}"
        )
        typer.echo(
            f"{sum(o.caught for o in outcomes.faults)} of {len(outcomes.faults)} caught; control: "
            f"{alarm}"
        )
    raise typer.Exit(0 if outcomes.ok else 1)


def _find(target: str) -> Any:
    """The function named PACKAGE:FUNCTION, looked for in the working folder too; LookupError when
    there is none.
    """
    import importlib
    import sys

    package, colon, name = target.partition(":")
    if not (package and colon and name):
        msg = (
            f"target(={target!r}) must read PACKAGE:FUNCTION, for example "
            "mypackage.attention:forward"
        )
        raise LookupError(msg)
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError) as error:
        msg = f"target(={target!r}) cannot be imported: {error}"
        raise LookupError(msg) from error


def _fail(message: str) -> None:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)


@contextlib.contextmanager
def _misuse(kind: type[Exception]) -> Iterator[None]:
    """Turn what the user got wrong into one line and exit status 2."""
    try:
        yield
    except kind as error:
        _fail(str(error.args[0]))


def _print_outcome(outcome: Outcome) -> None:
    """Print one line per theorem, then what did not come out as expected."""
    rows = [_row(result) for result in outcome.results]
    _print_table(("theorem", "verdict", "grade", "tightness", "seconds", "source"), rows)
    console = _console()
    for result in outcome.results:
        if not result.as_expected and not result.waiting:
            text = (
                f"{result.theorem.key}: {result.verdict.status}, expected "
                f"{result.theorem.expected}. {result.verdict.note}"
            )
            console.print(f"unexpected: {text}", markup=False, highlight=False, style="bold red")
    for contradiction in outcome.contradictions:
        console.print(
            f"contradiction: {contradiction}", markup=False, highlight=False, style="bold red"
        )
    counts = {name: sum(r.verdict.status == name for r in outcome.results) for name in _COLOURS}
    summary = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
    console.print(f"{len(outcome.results)} theorems: {summary}", markup=False, highlight=False)
    if outcome.missing:
        text = (
            f"incomplete: {outcome.missing} experiments are left; the same command without --fresh "
            "does them"
        )
        console.print(text, markup=False, highlight=False, style="bold yellow")


def _row(result: Result) -> tuple[str, ...]:
    from rich.markup import escape

    verdict = result.verdict
    mark = "" if result.as_expected else " [bold red]![/bold red]"
    tightness = "" if verdict.tightness is None else f"{verdict.tightness:.4g}"
    source = result.theorem.source
    cited = f"{source.citation.split(',')[0]}, {source.place}"
    status = _coloured(str(verdict.status)) + mark
    return (
        result.theorem.key,
        status,
        verdict.grade,
        tightness,
        f"{verdict.seconds:.1f}",
        escape(cited),
    )


def _description(theorem: Theorem) -> Iterator[tuple[str, str]]:
    yield "key", theorem.key
    yield "statement", theorem.statement
    yield "source", str(theorem.source)
    yield "expected verdict", str(theorem.expected)
    lists = {
        "reading": (theorem.reading,) if theorem.reading else (),
        "alternative readings": theorem.alternative_readings,
        "assumptions": tuple(a.text for a in theorem.assumptions),
        "experiments": tuple(f"{type(e).__name__}: {e.scope}" for e in theorem.experiments),
        "mutant, which must be refuted": (
            f"{type(theorem.mutant).__name__}: {theorem.mutant.scope}",
        ),
        "rests on": theorem.uses,
        "repaired by": (theorem.repaired_by,) if theorem.repaired_by else (),
        "remarks": theorem.remarks,
    }
    for name, lines in lists.items():
        if lines:
            yield name, "\n".join(f"- {line}" for line in lines)


def _as_data(outcome: Outcome) -> dict[str, Any]:
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


def _print_json(data: Any) -> None:
    typer.echo(json.dumps(data, sort_keys=True, allow_nan=False, indent=1, ensure_ascii=False))


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


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    plain = Console(stderr=stderr)
    return plain if plain.is_terminal else Console(stderr=stderr, width=160)


if __name__ == "__main__":
    main()
