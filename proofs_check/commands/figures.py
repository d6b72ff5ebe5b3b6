"""The command that draws: figures."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from proofs_check.commands.entry import command, misuse
from proofs_check.commands.options import BudgetName


class Format(StrEnum):
    """Forms of a figure."""

    SVG = "svg"
    PNG = "png"
    CSV = "csv"


def _forms(text: str) -> tuple[str, ...]:
    known = [form.value for form in Format]
    wanted = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not set(wanted) <= set(known):
        msg = f"format(={text}) must be some of {', '.join(known)}, with commas between"
        raise ValueError(msg)
    return wanted


@command("figures")
def figures(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Figures, beginnings of names, or patterns as '*cost'; all if none.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Made when absent.")] = Path(
        "figures"
    ),
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help="svg, png, csv, with commas.")
    ] = "svg,png,csv",
    budget: Annotated[
        BudgetName, typer.Option(help="quick: sizes that take a moment, to try it out.")
    ] = BudgetName.FULL,
    names_only: Annotated[bool, typer.Option("--list", help="Print the names and end.")] = False,
) -> None:
    """Draw plots of theorems, with their numbers beside them.

    Each names the theorem it shows, and prints the paper's numbers beside ours. Every file says
    seed, versions and commit.
    """
    from approxattn.whole_files import make_folder
    from proofs_check.figures import gallery
    from proofs_check.figures.output import files
    from proofs_check.running.evidence import environment

    with misuse(LookupError, ValueError):
        wanted = gallery.chosen(names or ())
        forms = _forms(formats)
    if names_only:
        typer.echo("\n".join(wanted))
        return
    folder = make_folder(out)
    versions = environment()["versions"]
    for number, (name, build) in enumerate(wanted.items(), 1):
        typer.echo(f"[{number}/{len(wanted)}] {name}", err=True)
        figure = build(budget is BudgetName.QUICK)
        for path in files.write(figure, folder, forms, files.origin_of(figure, versions)):
            typer.echo(path)
