"""Figures that are kept as soon as they are found, so that a run can be cut and taken up again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Cells:
    """A JSON file of records, each under its name and on its line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, Any] = {}
        if path.exists():
            self.records = json.loads(path.read_text(encoding="utf-8"))

    def __contains__(self, name: str) -> bool:
        return name in self.records

    def keep(self, name: str, record: Any) -> None:
        """Write one record; a cut in the middle leaves the file as it was."""
        self.records[name] = record
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        lines = [f"{json.dumps(name)}: {json.dumps(r)}" for name, r in self.records.items()]
        fresh.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        fresh.replace(self.path)
