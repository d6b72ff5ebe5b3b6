"""Records of the benchmark by what their names say: the parts between bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Records = Mapping[str, Any]


def cells(records: Records) -> dict[int, dict[str, dict[str, Any]]]:
    """Return the records of whole models by tokens, setting and text, in their order."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for name, record in records.items():
        parts = name.split(" | ")
        if len(parts) == 3 and parts[2] != "text":
            found.setdefault(int(parts[0]), {}).setdefault(parts[2], {})[parts[1]] = record
    return dict(sorted(found.items()))


def on_heads(records: Records) -> dict[tuple[int, str], dict[str, list[dict[str, Any]]]]:
    """Return the records of single heads by (tokens, family), setting, one for each text."""
    found: dict[tuple[int, str], dict[str, list[dict[str, Any]]]] = {}
    for name, record in records.items():
        parts = name.split(" | ")
        if len(parts) == 5 and parts[2] == "heads":
            place = found.setdefault((int(parts[0]), parts[3]), {})
            place.setdefault(parts[4], []).append(record)
    return found


def signed(x: float, digits: int = 4) -> str:
    """Return a number with its sign, typeset."""
    return f"{x:+.{digits}f}".replace("-", "−")
