"""The commands that examine code: audit that of others, faults our own."""

from __future__ import annotations

import typer

from proofs_check.commands import options
from proofs_check.commands.entry import command, misuse
from proofs_check.report import terminal


@command("audit")
def audit(
    target: options.Target,
    approximate: options.Approximate = False,
    leading: options.Leading = 0,
    scale: options.ScoreScale = None,
    square: options.Square = False,
    torch: options.Torch = False,
    autograd: options.Autograd = False,
    sizes: options.Sizes = None,
    multiple_of: options.MultipleOf = 1,
    time_limit: options.AuditLimit = 300.0,
    as_json: options.AsJson = False,
) -> None:
    """Examine an attention function of your own.

    It takes NumPy arrays, or torch tensors with --torch, and runs in a process of its own: whatever
    it does there, it cannot pass by leaving. Exit status 0 when all checks hold, 1 when not, 2 on
    misuse, which includes a function that cannot be imported.
    """
    from proofs_check.kit.isolated import check_isolated

    with misuse(LookupError, ValueError):
        examination = check_isolated(
            target,
            time_limit=time_limit,
            exact=not approximate,
            leading=leading,
            scale=scale,
            square=square,
            framework="torch" if torch else "numpy",
            autograd=autograd,
            sizes=None if sizes is None else _numbers(sizes),
            multiple_of=multiple_of,
        )
    if as_json:
        terminal.print_json(terminal.examination_data(examination))
    else:
        terminal.print_text(str(examination))
    raise typer.Exit(0 if examination.ok else 1)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        msg = f"sizes(={text}) must be whole numbers with commas between, such as 64,128"
        raise ValueError(msg) from None


@command("faults")
def faults(
    keys: options.FaultKeys = None,
    jobs: options.Jobs = 2,
    limit: options.FaultLimit = 600.0,
    control: options.Control = True,
    as_json: options.AsJson = False,
    out: options.OptionalPage = None,
    store: options.FaultStore = None,
) -> None:
    """Put faults into copies of our own methods; see which are caught.

    Exit status 0 when 95 % of them are and the control, the code as it is, passes all checks; 1
    when not, 2 on misuse. With a store, the same command goes on where an earlier one was ended.
    """
    from approxattn.whole_files import check_place, write_text
    from proofs_check.faults.run import FORM, chosen, gathered, run
    from proofs_check.hunt.store import Store, StoreError
    from proofs_check.report.faults import markdown

    ended = []
    with misuse(KeyError):
        wanted = chosen(keys or ())
    if out is not None:
        check_place(out)
    with misuse(StoreError), Store(store, FORM) as opened:
        for outcome in run(wanted, jobs=jobs, limit=limit, control=control, store=opened):
            ended.append(outcome)
            verdict = "" if as_json else f"{outcome.check or '-':32s} {outcome.complaint}"
            typer.echo(f"{outcome.key:34s} {verdict}"[:200], err=as_json)
    outcomes = gathered(ended)
    if out is not None:
        write_text(out, markdown(outcomes))
    if as_json:
        terminal.print_json(outcomes.as_data())
    else:
        terminal.print_text(outcomes.summary)
    raise typer.Exit(0 if outcomes.ok else 1)
