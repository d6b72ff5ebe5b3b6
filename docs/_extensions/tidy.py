"""Small repairs of the pages before they are written: cells of numbers stay on one line, and code
does not end with the empty line that closes a doctest.
"""

from __future__ import annotations

from typing import Any

SHORT = 16
"""Characters of a cell that is never broken: numbers with their exponent or range. *Chosen*."""


def repair(_: Any, document: Any) -> None:
    """Mark short cells, and strip code."""
    from docutils import nodes

    for entry in document.findall(nodes.entry):
        text = entry.astext()
        if len(text) <= SHORT and any(c.isdigit() for c in text):
            entry["classes"].append("short")
    for block in document.findall(nodes.literal_block):
        block.rawsource = block.rawsource.rstrip()
        block.children = [nodes.Text(block.astext().rstrip())]


def setup(app: Any) -> dict[str, bool]:
    """Register the repairs."""
    app.connect("doctree-read", repair)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
