"""The evidence as a table, for other programs: CSV, or Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from approxattn.whole_files import whole_file
from proofs_check.catalogue import theorems
from proofs_check.running.campaign import last_units
from proofs_check.running.evidence import Evidence

__all__ = ["COLUMNS", "rows", "schema", "write"]

COLUMNS = (
    "theorem",
    "experiment",
    "kind",
    "covers",
    "expected",
    "status",
    "grade",
    "scope",
    "tightness",
    "seconds",
    "note",
    "source",
    "seed",
    "budget",
    "unit",
    "verdict",
)
"""One line an experiment; ``verdict`` is the whole verdict as JSON, by the schema that `schema`
returns.
"""


def rows(evidence: Evidence) -> list[dict[str, Any]]:
    """One row for each experiment of the campaign begun last, those not carried out left out.

    Raises
    ------
    LookupError
        When the evidence holds no campaign.
    EvidenceError
        When it names a theorem or an experiment that the catalogue does not have.
    """
    known, table = theorems(timed=True), []
    for unit in last_units(evidence):
        verdict, theorem = evidence.get(unit, finished_only=False), known[unit.theorem]
        if verdict is None:
            continue
        values = (
            unit.theorem,
            unit.experiment,
            type(theorem.experiments[unit.experiment]).__name__,
            theorem.covers[unit.experiment],
            str(theorem.expected),
            str(verdict.status),
            verdict.grade,
            verdict.scope,
            verdict.tightness,
            verdict.seconds,
            verdict.note,
            str(theorem.source),
            unit.seed,
            unit.budget,
            unit.key,
            verdict.to_json(),
        )
        table.append(dict(zip(COLUMNS, values, strict=True)))
    return table


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of verdicts, as shipped."""
    loaded: dict[str, Any] = json.loads(
        Path(__file__).with_name("verdict.schema.json").read_text(encoding="utf-8")
    )
    return loaded


def write(evidence: Evidence, path: Path) -> int:
    """Write the table and return its number of rows; the suffix says how: ``.csv`` or ``.parquet``.

    Raises
    ------
    ValueError
        When the suffix is another one, or pyarrow is missing.
    LookupError, EvidenceError
        As `rows`.
    NotWrittenError
        When the file cannot be written; what stood there before still does.
    """
    if path.suffix not in (".csv", ".parquet"):
        msg = f"path(={path}) must end in .csv or .parquet"
        raise ValueError(msg)
    table = rows(evidence)
    write_table = _write_csv if path.suffix == ".csv" else _write_parquet
    with whole_file(path) as file:
        write_table(table, file)
    return len(table)


def _write_csv(table: Sequence[Mapping[str, Any]], path: Path) -> None:
    # Half a surrogate pair, which damaged evidence may hold, has no UTF-8.
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(table)


def _write_parquet(table: Sequence[Mapping[str, Any]], path: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        msg = "a .parquet file needs pyarrow: install it, or write .csv"
        raise ValueError(msg) from error
    numbers = {
        "experiment": pa.int64(),
        "seed": pa.int64(),
        "tightness": pa.float64(),
        "seconds": pa.float64(),
    }
    types = [(name, numbers.get(name, pa.string())) for name in COLUMNS]
    pq.write_table(pa.Table.from_pylist(list(table), schema=pa.schema(types)), path)
