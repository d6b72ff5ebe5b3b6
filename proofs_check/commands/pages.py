"""The commands that write what was found: report, errata, export."""

from __future__ import annotations

from pathlib import Path

import typer

from proofs_check.commands import options
from proofs_check.commands.entry import command, misuse
from proofs_check.report import terminal


@command("report")
def report(
    evidence: options.EvidencePath = options.DEFAULT_EVIDENCE,
    out: options.Folder = Path("report"),
    formats: options.Formats = None,
) -> None:
    """Write the last campaign's report.

    It has four forms: a web page (index.html), report.md, report.json and junit.xml.
    """
    from proofs_check.report.files import FILES, write
    from proofs_check.running.campaign import last_outcome
    from proofs_check.running.evidence import Evidence

    with Evidence(evidence, copy=True) as store, misuse(LookupError, ValueError):
        outcome = last_outcome(store)
        names = [form.value for form in formats or ()] or tuple(FILES)
        written = write(outcome, store, out, formats=names)
    for path in written:
        terminal.print_text(str(path))


@command("errata")
def errata(
    evidence: options.EvidencePath = options.DEFAULT_EVIDENCE,
    out: options.Page = Path("docs/generated/errata.md"),
) -> None:
    """Write the page of refuted statements and their repairs.

    It also says what cannot be checked. What the evidence lacks is checked first. Exit status 0
    when every verdict is the expected one, 1 when not, 2 on misuse.
    """
    from approxattn.diagnosis.whole_files import write_text
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
    write_text(out, markdown(outcome))
    terminal.print_text(str(out))
    raise typer.Exit(0 if outcome.ok else 1)


@command("export")
def export(out: options.Table, evidence: options.EvidencePath = options.DEFAULT_EVIDENCE) -> None:
    """Write the last campaign's evidence as a table.

    It has one row for each experiment.
    """
    from proofs_check.report.table import write
    from proofs_check.running.evidence import Evidence

    with Evidence(evidence, copy=True) as store, misuse(LookupError, ValueError):
        count = write(store, out)
    terminal.print_text(f"{out}: {count} rows")
