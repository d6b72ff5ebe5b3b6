"""Markdown that is wrapped means what it meant."""

from __future__ import annotations

import re

import pytest

from proofs_check.report.wrapping import WIDTH, wrapped

BROKEN = (
    ">= b",
    "> b",
    "- 1) b",
    "+ b",
    "* b",
    "# b",
    "=== b",
    "| b",
    "12. b",
    "3) b",
    "-1 b",
    "1.5 b",
)


@pytest.mark.parametrize("start", ["", "- ", "> "])
@pytest.mark.parametrize("rest", BROKEN)
def test_a_line_that_goes_on_begins_nothing(start: str, rest: str) -> None:
    """Wrapped just before a sign that means a quotation, a list or a heading in Markdown."""
    text = f"{start}{'a' * (WIDTH - len(start))} {rest}"
    first, second = wrapped(text).split("\n")
    hang = {"- ": "  ", "> ": "> "}.get(start, "")
    assert f"{first} {second.removeprefix(hang).replace(chr(92), '')}" == text
    assert not re.match(r"\s*(>|[-+*#|]+ |\d+[.)] )", second.removeprefix(hang))
