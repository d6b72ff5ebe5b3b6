"""What a script of the gallery does with its figure when it is run by hand."""

from __future__ import annotations

import textwrap
from pathlib import Path

from approxattn.whole_files import make_folder
from proofs_check.figures.output import files
from proofs_check.figures.record import Figure
from proofs_check.running.evidence import environment

_WIDTH = 88


def show(figure: Figure, folder: Path = Path("figures")) -> None:
    """Print what the figure says, the source's numbers beside ours, and write its files."""
    print(text(figure))
    origin = files.origin_of(figure, environment()["versions"])
    for path in files.write(figure, make_folder(folder), files.FORMATS, origin):
        print(path)


def text(figure: Figure) -> str:
    """Return title, caption, numbers and theorems as text."""
    parts = [figure.title, textwrap.fill(figure.caption, _WIDTH)]
    if figure.printed:
        rows = [f"{row.what}: source {row.source}; here {row.ours}" for row in figure.printed]
        parts.append("\n".join(rows))
    parts.append(textwrap.fill("Shows " + ", ".join(figure.claims), _WIDTH))
    return "\n\n".join([*parts, ""])
