"""The commands that carry experiments out and show what they say: list, run, show, replay."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from proofs_check.commands import options
from proofs_check.commands.entry import command, fail, misuse
from proofs_check.commands.refusal import INTERRUPTED
from proofs_check.report import terminal

if TYPE_CHECKING:
    from proofs_check.running.campaign import Campaign
    from proofs_check.running.foreign import Foreign
    from proofs_check.statements.theorem import Theorem


@command("list")
def list_command(
    keys: options.Keys = None,
    status: options.Statuses = None,
    paper: options.Papers = None,
    kind: options.Kind = None,
    catalogue: options.Catalogue = None,
    as_json: options.AsJson = False,
) -> None:
    """List the theorems with the verdict expected of each.

    `list --paper linformer --status refuted` shows what is refuted of one paper.
    """
    from proofs_check.catalogue import select, sort_of
    from proofs_check.commands.filters import filtered

    with misuse(KeyError):
        named = select(_theorems(catalogue), keys or ())
    wanted = {one.value for one in status or ()}
    left = filtered(named, status=wanted, paper=paper or (), kind=kind.value if kind else "")
    theorems = list(left.values())
    if not as_json:
        if not theorems:
            terminal.print_text("no theorem fits: `list` without filters shows all")
            return
        terminal.print_list(theorems)
        return
    terminal.print_json(
        [
            {
                "key": t.key,
                "title": t.title,
                "expected": str(t.expected),
                "kind": sort_of(t),
                "source": str(t.source),
            }
            for t in theorems
        ]
    )


def _theorems(catalogue: str | None) -> dict[str, Theorem]:
    """Theorems of the catalogue named, ours unless one is."""
    from proofs_check.catalogue import theorems

    foreign = _foreign(catalogue)
    return theorems(timed=True) if foreign is None else foreign.theorems()


def _foreign(catalogue: str | None) -> Foreign | None:
    from proofs_check.running.foreign import find

    with misuse(LookupError, ValueError):
        return None if catalogue is None else find(catalogue)


def _campaign(keys: Iterable[str], foreign: Foreign | None, **settings: Any) -> Campaign:
    """A campaign about the catalogue named."""
    from proofs_check.running.campaign import Campaign

    if foreign is not None:
        settings |= {"modules": foreign.modules, "catalogue_name": foreign.name}
    with misuse(KeyError, ValueError):
        return Campaign(keys, **settings)


def _store(evidence: Path, foreign: Foreign | None) -> Path:
    """The store that is meant: that of a foreign catalogue lies beside ours."""
    return evidence if foreign is None or evidence != options.DEFAULT_EVIDENCE else foreign.store


@command("run")
def run(
    keys: options.Keys = None,
    catalogue: options.Catalogue = None,
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

    `run yoso` checks those whose keys begin so, `run '*.theorem-*'` those that fit the pattern, and
    the controls, which every run checks.
    Exit status 0 when every verdict is the expected one, 1 when not, 2 on misuse, 3 when
    experiments are left to do, 130 after an interrupt.
    """
    from proofs_check.report.progress import carry_out
    from proofs_check.running.evidence import Evidence

    if not time_limit > 0:
        fail(f"time_limit(={time_limit}) must be positive: give seconds")
    foreign = _foreign(catalogue)
    campaign = _campaign(
        keys or (), foreign, seed=seed, budget=budget.value, jobs=jobs, scheduler=scheduler
    )
    with Evidence(_store(evidence, foreign)) as store:
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
def show(
    key: options.Key, catalogue: options.Catalogue = None, as_json: options.AsJson = False
) -> None:
    """Show all that is said of a theorem.

    That is its statement, how it is read, its assumptions, experiments and remarks.
    """
    from proofs_check.catalogue import theorem_among

    with misuse(KeyError):
        theorem = theorem_among(_theorems(catalogue), key)
    if as_json:
        terminal.print_json(terminal.theorem_data(theorem))
    else:
        terminal.print_theorem(theorem)


@command("replay")
def replay(
    key: options.Key,
    catalogue: options.Catalogue = None,
    seed: options.Seed = 0,
    budget: options.Budget = options.BudgetName.QUICK,
    evidence: options.EvidencePath = options.DEFAULT_EVIDENCE,
) -> None:
    """Print Python that re-checks a verdict, and run it.

    The Python goes by what the verdict rests on, and runs in a fresh process. Seed and budget are
    those of the campaign. What the evidence lacks is carried out, and not written down. Exit
    status 0 when the verdict comes out again, 1 when not, 2 on misuse.
    """
    from proofs_check.catalogue import theorem_among
    from proofs_check.running.evidence import Evidence
    from proofs_check.running.replay import source
    from proofs_check.running.script import run_script
    from proofs_check.statements.verdict import Status

    foreign = _foreign(catalogue)
    with misuse(KeyError):
        theorem_among(_theorems(catalogue), key)
    campaign = _campaign((key,), foreign, seed=seed, budget=budget.value)
    evidence = _store(evidence, foreign)
    whose: dict[str, Any] = {}
    if foreign is not None:
        whose = {"modules": foreign.modules, "first": foreign.preamble()}
    campaign.units = [unit for unit in campaign.units if unit.theorem == key]
    store = Evidence(evidence, copy=True) if evidence.exists() else Evidence.of_nothing()
    with store:
        verdicts = dict(campaign.run(store, record=False))
    refuted = {u: verdict for u, verdict in verdicts.items() if verdict.status is Status.REFUTED}
    for unit, verdict in (refuted or verdicts).items():
        code = source(campaign.theorems[key], unit, verdict, **whose)
        terminal.print_code(code)
        status, text = run_script(code)
        terminal.print_text("# prints")
        terminal.print_text(text)
        if status:
            raise typer.Exit(1)
