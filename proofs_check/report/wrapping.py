"""Markdown in lines that can be read: paragraphs, quotations and list items are wrapped."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 120
"""Longest line of a page, tables apart."""


def flowing(text: str) -> str:
    """Return prose with one line a paragraph, as `wrapped` wants it."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n")) + "\n"


def page_of(lines: Sequence[str]) -> str:
    """Return the lines as a page of Markdown, wrapped; an inner product is no HTML, and the index
    of a whole row or column, as in W_{j,*}, no emphasis.
    """
    page = re.sub(r"<(?=[A-Za-z/!?])", r"\<", "\n".join(lines))
    return wrapped(re.sub(r"(?<=[{_])\*(?!\*)|(?<=,)\*(?=})", r"\*", page)) + "\n"


def row(cells: Iterable[str]) -> str:
    """Return the cells as one row of a table."""
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def wrapped(page: str) -> str:
    """Return the page with long lines broken; tables, headings and pages' other lines stay.

    Parameters
    ----------
    page : str
        Markdown in which every paragraph, quotation and list item is one line.
    """
    lines: list[str] = []
    for line in page.split("\n"):
        whole = line.startswith(("|", "#")) or len(line) <= WIDTH
        lines += [line] if whole else _broken(line)
    return "\n".join(lines)


_BEGINS = re.compile(r"^(?:(?=>|[-+*] |#{1,6} |[-=]+$|\|)|(\d{1,9})(?=[.)] ))")
"""Where a backslash makes text of what would begin a quotation, a list, a heading or a table."""


def _broken(line: str) -> list[str]:
    text = line.lstrip()
    margin = line[: len(line) - len(text)]
    hang = margin + {"- ": "  ", "> ": "> "}.get(text[:2], "")
    first, *others = textwrap.wrap(
        line,
        width=WIDTH,
        subsequent_indent=hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
    begun = len(hang)
    return [first, *(hang + _BEGINS.sub(r"\1\\", line[begun:]) for line in others)]
