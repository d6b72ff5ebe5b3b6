"""The commands that carry experiments out and show what they say: list, run, show, replay."""

from __future__ import annotations

import typer

from proofs_check.commands import options
from proofs_check.commands.entry import INTERRUPTED, command, fail, misuse
from proofs_check.report import terminal


@command("list")
def list_command(as_json: options.AsJson = False) -> None:
    """List the theorems with the verdict expected of each."""
    from proofs_check import catalogue

    theorems = list(catalogue.theorems(timed=True).values())
    if not as_json:
        terminal.print_list(theorems)
        return
    terminal.print_json(
        [
            {"key": t.key, "title": t.title, "expected": str(t.expected), "source": str(t.source)}
            for t in theorems
        ]
    )


@command("run")
def run(
    keys: options.Keys = None,
    seed: options.Seed = 0,
    budget: options.Budget = options.BudgetName.QUICK,
    as_json: options.AsJson = False,
    evidence: options.EvidencePath = options.DEFAULT_EVIDENCE,
    fresh: options.Fresh = False,
    jobs: options.Jobs = 2,
    time_limit: options.RunLimit = float("inf"),
    scheduler: options.Scheduler = None,
) -> None:
    """Check theorems, and write down what is found.

    Exit status 0 when every verdict is the expected one, 1 when not, 2 on misuse, 3 when
    experiments are left to do, 130 after an interrupt.
    """
    from proofs_check.report.progress import carry_out
    from proofs_check.running.campaign import Campaign
    from proofs_check.running.evidence import Evidence

    if not time_limit > 0:
        fail(f"time_limit(={time_limit}) must be positive")
    with misuse(KeyError, ValueError):
        campaign = Campaign(
            keys or (), seed=seed, budget=budget.value, jobs=jobs, scheduler=scheduler
        )
    with Evidence(evidence) as store:
        try:
            carry_out(campaign, store, fresh=fresh, time_limit=time_limit, quiet=as_json)
        except KeyboardInterrupt:
            left = len(campaign.units) - len(campaign.stored(store))
            text = f"interrupted: {left} of {len(campaign.units)} experiments are left"
            typer.echo(f"{text}; the same command without --fresh does them", err=True)
            raise typer.Exit(INTERRUPTED) from None
        outcome = campaign.conclude(store)
    if as_json:
        terminal.print_json(terminal.as_data(outcome))
    else:
        terminal.print_outcome(outcome)
    raise typer.Exit(1 if outcome.wrong else 3 if outcome.missing else 0)


@command("show")
def show(key: options.Key) -> None:
    """Show all that is said of a theorem.

    That is its statement, how it is read, its assumptions, experiments and remarks.
    """
    from proofs_check import catalogue

    with misuse(KeyError):
        theorem = catalogue.theorem(key)
    terminal.print_theorem(theorem)


@command("replay")
def replay(
    key: options.Key,
    seed: options.Seed = 0,
    budget: options.Budget = options.BudgetName.QUICK,
    evidence: options.EvidencePath = options.DEFAULT_EVIDENCE,
) -> None:
    """Print Python that re-checks a verdict, and run it.

    The Python goes by what the verdict rests on, and runs in a fresh process. Seed and budget are
    those of the campaign. What the evidence lacks is carried out, and not written down. Exit
    status 0 when the verdict comes out again, 1 when not, 2 on misuse.
    """
    from proofs_check.running.campaign import Campaign
    from proofs_check.running.evidence import Evidence
    from proofs_check.running.replay import source
    from proofs_check.running.script import run_script
    from proofs_check.statements.verdict import Status

    with misuse(KeyError, ValueError):
        campaign = Campaign((key,), seed=seed, budget=budget.value)
    campaign.units = [unit for unit in campaign.units if unit.theorem == key]
    store = Evidence(evidence, copy=True) if evidence.exists() else Evidence.of_nothing()
    with store:
        verdicts = dict(campaign.run(store, record=False))
    refuted = {u: verdict for u, verdict in verdicts.items() if verdict.status is Status.REFUTED}
    for unit, verdict in (refuted or verdicts).items():
        code = source(campaign.theorems[key], unit, verdict)
        terminal.print_code(code)
        status, text = run_script(code)
        terminal.print_text("# prints")
        terminal.print_text(text)
        if status:
            raise typer.Exit(1)
