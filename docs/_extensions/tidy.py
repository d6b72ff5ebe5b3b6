"""Small repairs of the pages before they are written: cells of numbers stay on one line, code that
is wider than a cell breaks, the first column of a wide table stays in sight, and code does not end
with the empty line that closes a doctest.
"""

from __future__ import annotations

from typing import Any

SHORT = 16
"""Characters of a cell that is never broken: numbers with their exponent or range. *Chosen*."""
LONG = 24
"""Characters of a word in code from which on it may break within a cell. *Chosen*."""
WIDE = 7
"""Columns from which on a table is read by its first one. *Chosen*."""


def repair(_: Any, document: Any) -> None:
    """Mark cells and tables, and strip code."""
    from docutils import nodes

    for entry in document.findall(nodes.entry):
        text = entry.astext()
        if len(text) <= SHORT and any(c.isdigit() for c in text):
            entry["classes"].append("short")
        code = [word for x in entry.findall(nodes.literal) for word in x.astext().split()]
        if any(len(word) >= LONG for word in code):
            entry["classes"].append("long")
    for table in document.findall(nodes.table):
        if len(list(table.findall(nodes.colspec))) >= WIDE:
            table["classes"].append("wide")
    for block in document.findall(nodes.literal_block):
        block.rawsource = block.rawsource.rstrip()
        block.children = [nodes.Text(block.astext().rstrip())]


def setup(app: Any) -> dict[str, bool]:
    """Register the repairs."""
    app.connect("doctree-read", repair)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
