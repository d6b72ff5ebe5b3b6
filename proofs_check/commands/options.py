"""Arguments and options of the commands, each with its line of help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_EVIDENCE = Path("report/evidence.sqlite")


class BudgetName(StrEnum):
    """How much work to do."""

    QUICK = "quick"
    FULL = "full"


class Verdict(StrEnum):
    """What may be expected of a theorem."""

    PROVED = "proved"
    ARGUED = "argued"
    REFUTED = "refuted"
    SUPPORTED = "supported"
    INCONCLUSIVE = "inconclusive"


class TheoremKind(StrEnum):
    """What a refuted statement is, or what is no statement."""

    PRINTED = "printed"
    CODE = "code"
    IMPLIED = "implied"
    SHARPNESS = "sharpness"
    BOOKKEEPING = "bookkeeping"
    CONTROL = "control"


class ReportFormat(StrEnum):
    """The forms of the report."""

    HTML = "html"
    MD = "md"
    JSON = "json"
    JUNIT = "junit"


Keys = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY",
        help="Theorems, beginnings of their keys, or patterns such as '*.theorem-*'; all when none "
        "is given.",
    ),
]
Statuses = Annotated[
    list[Verdict] | None,
    typer.Option("--status", help="Only those of which this verdict is expected; repeat for more."),
]
Papers = Annotated[
    list[str] | None,
    typer.Option(
        "--paper",
        metavar="WORD",
        help="Only those whose key begins so or whose source has this word; repeat for more.",
    ),
]
Kind = Annotated[
    TheoremKind | None, typer.Option("--kind", help="Only what this column of the list says.")
]
Catalogue = Annotated[
    str | None,
    typer.Option(
        "--catalogue",
        metavar="MODULE",
        help="Theorems of your own: a module or .py file with THEOREMS. Its evidence lies in "
        "report/MODULE.sqlite.",
    ),
]
Key = Annotated[str, typer.Argument(metavar="KEY", help="A theorem, as `list` shows it.")]
FaultKeys = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY", help="Faults; all when none is given. GROUP. is a group."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
EvidencePath = Annotated[
    Path, typer.Option("--evidence", metavar="PATH", help="The evidence store (SQLite).")
]
Seed = Annotated[int, typer.Option(help="All randomness follows from it.")]
Budget = Annotated[BudgetName, typer.Option(help="How long to search for counterexamples.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Do everything anew instead of resuming.")]
Jobs = Annotated[int, typer.Option(min=1, help="Worker processes.")]
RunLimit = Annotated[
    float,
    typer.Option(metavar="SECONDS", help="End after so long; the same command goes on later."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="A running Dask scheduler whose workers do the work."),
]
Folder = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the report.")]
Formats = Annotated[
    list[ReportFormat] | None,
    typer.Option("--format", help="Forms to write; all when none is given."),
]
Page = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the page.")]
PageFolder = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the pages.")]
Table = Annotated[Path, typer.Argument(metavar="FILE", help="Ends in .csv or .parquet.")]
Target = Annotated[str, typer.Argument(metavar="PACKAGE:FUNCTION", help="A function of q, k, v.")]
Approximate = Annotated[
    bool, typer.Option("--approximate", help="It approximates: compare with null baselines.")
]
Leading = Annotated[
    int, typer.Option(min=0, help="Leading axes that it needs, such as batch and heads.")
]
ScoreScale = Annotated[float | None, typer.Option(help="Factor of q . k; 1/sqrt(d) if not given.")]
Square = Annotated[bool, typer.Option("--square", help="It needs as many queries as keys.")]
Torch = Annotated[bool, typer.Option("--torch", help="It takes torch tensors.")]
Autograd = Annotated[
    bool, typer.Option("--autograd", help="Its gradients by torch too (with --torch).")
]
Sizes = Annotated[
    str | None,
    typer.Option(metavar="N,N,...", help="Numbers of tokens to try, no check uses more."),
]
MultipleOf = Annotated[
    int, typer.Option(min=1, help="What divides every number of tokens that it takes.")
]
AuditLimit = Annotated[
    float, typer.Option(metavar="SECONDS", help="How long the function may take, in all.")
]
FaultLimit = Annotated[float, typer.Option(min=1, help="Seconds for each fault.")]
FaultStore = Annotated[
    Path | None, typer.Option("--store", metavar="FILE", help="JSON lines; a run goes on from it.")
]
Control = Annotated[bool, typer.Option(help="Run all checks on the code as it is too.")]
OptionalPage = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write the page there.")
]
