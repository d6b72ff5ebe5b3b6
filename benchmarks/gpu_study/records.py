"""Records: one JSON object a line, written at once, so that a run that is killed keeps what it has.

A record has `name`, `arguments`, `library`, `source` (of our code), `took` (seconds) and `result`,
which holds one of `seconds`, `relative`, `skipped`, `error`. The first record, "environment", names
the device and the versions.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import approxattn

Record = dict[str, Any]
KEYS: dict[str, Any] = {
    "name": str,
    "arguments": dict,
    "library": str,
    "source": str,
    "took": (int, float),
    "result": dict,
}


def source() -> str:
    """Return a mark of our code: figures of other code are not mixed with new ones."""
    mark, top = hashlib.sha256(), Path(approxattn.__file__).parent
    for path in sorted(p for ending in ("*.py", "*.cu") for p in top.rglob(ending)):
        mark.update(path.relative_to(top).as_posix().encode() + path.read_bytes())
    return mark.hexdigest()[:16]


def key(record: Mapping[str, Any]) -> str:
    """Return what a record is the answer to."""
    parts = [record[name] for name in ("name", "arguments", "library", "source")]
    return json.dumps(parts, sort_keys=True)


def read(path: Path) -> list[Record]:
    """Return the records of a file, none where there is no file; a last line cut short is left out.

    Raises
    ------
    ValueError
        Naming the line that is no record.
    """
    if not path.exists():
        return []
    lines, found = path.read_text(encoding="utf-8").splitlines(), []
    for number, line in enumerate(lines, 1):
        try:
            found.append(checked(json.loads(line)))
        except (TypeError, ValueError) as error:
            if number == len(lines):
                break
            msg = f"{path}, line {number}: {error}"
            raise ValueError(msg) from error
    return found


def checked(record: Any) -> Record:
    """Return a record that has what every record has.

    Raises
    ------
    TypeError
        Naming what is missing or of another kind.
    """
    if not isinstance(record, dict):
        msg = f"{record!r} is no object"
        raise TypeError(msg)
    for name, kind in KEYS.items():
        if not isinstance(record.get(name), kind):
            msg = f"{name}(={record.get(name)!r}) is missing or of a wrong kind"
            raise TypeError(msg)
    result = record["result"]
    if record["name"] != "environment" and not {"seconds", "relative", "skipped", "error"} & {
        *result
    }:
        msg = f"result(={result!r}) says nothing"
        raise TypeError(msg)
    return dict(record)


def write(path: Path, record: Record) -> None:
    """Add a record; a last line that was cut short is removed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(checked(record), sort_keys=True) + "\n")


def environment(library: Any) -> Record:
    """Return the record that says where the others were measured."""
    result = {
        "device": library.device,
        "version": library.xp.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    common = {"library": library.name, "source": source(), "took": 0.0}
    return {"name": "environment", "arguments": {}, "result": result, **common}
