"""The commands that write what was found: report, errata, pages, export."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from proofs_check.commands import options
from proofs_check.commands.entry import command, misuse
from proofs_check.report import terminal

if TYPE_CHECKING:
    from proofs_check.running.campaign import Outcome


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
    """Write the page of what is printed and false, with repairs.

    What published code does counts as printed. The page also says what cannot be checked. What
    the evidence lacks is checked first. Exit status 0 when every verdict is the expected one, 1
    when not, 2 on misuse.
    """
    from approxattn.whole_files import check_place, write_text
    from proofs_check import catalogue
    from proofs_check.report.errata import markdown

    check_place(out)
    refuted = [t for t in catalogue.theorems().values() if t.expected == "refuted"]
    repairs = {t.repaired_by for t in refuted if t.repaired_by}
    outcome = _checked(evidence, {t.key for t in refuted} | repairs)
    write_text(out, markdown(outcome))
    terminal.print_text(str(out))
    raise typer.Exit(0 if outcome.ok else 1)


@command("pages")
def pages(
    evidence: options.EvidencePath = options.DEFAULT_EVIDENCE,
    out: options.PageFolder = Path("docs/generated"),
) -> None:
    """Write every page about the statements and their mutants.

    They are errata, sharpness, searches, coverage and mutants. What the evidence lacks is checked
    first, by the quick budget; then every mutant is carried out, a minute or two. Exit status 0
    when every verdict is the expected one, 1 when not, 2 on misuse.
    """
    from approxattn.whole_files import check_place, make_folder, write_text
    from proofs_check.report import coverage, mutants, searches
    from proofs_check.report import errata as refuted
    from proofs_check.running.evidence import Evidence

    with Evidence(evidence):
        pass  # a damaged store is seen before the folder is made
    folder = make_folder(out)
    check_place(folder / "errata.md")
    outcome = _checked(evidence, ())
    texts = {
        "errata.md": refuted.markdown(outcome),
        "sharpness.md": refuted.stronger_markdown(outcome),
        "searches.md": searches.markdown(outcome),
        "coverage.md": coverage.markdown(outcome),
        "mutants.md": mutants.markdown(),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
        terminal.print_text(str(folder / name))
    raise typer.Exit(0 if outcome.ok else 1)


def _checked(evidence: Path, keys: Iterable[str]) -> Outcome:
    """What is known of the theorems, all for none; what the evidence lacks is carried out, and said
    on standard error.
    """
    from proofs_check.report.progress import carry_out
    from proofs_check.running.campaign import Campaign
    from proofs_check.running.evidence import Evidence

    campaign = Campaign(keys)
    with Evidence(evidence) as store:
        left = len(campaign.units) - len(campaign.stored(store))
        if left:
            of = f"{left} of {len(campaign.units)} experiments"
            typer.echo(f"{of} are not in {evidence}: they are carried out first", err=True)
        carry_out(campaign, store, record=False)
        return campaign.conclude(store)


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
