"""The evidence as a table, for other programs: CSV, or Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from proofs_check.catalogue import theorems
from proofs_check.running.evidence import Evidence

__all__ = ["COLUMNS", "rows", "schema", "write"]

COLUMNS = (
    "theorem",
    "experiment",
    "kind",
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
    """
    last = evidence.last_campaign()
    if last is None:
        msg = (
            f"evidence(={evidence.path}) holds no campaign: carry one out with `python -m "
            "proofs_check run`"
        )
        raise LookupError(msg)
    known, found = theorems(timed=True), []
    for unit in last[0]:
        verdict, theorem = evidence.get(unit, finished_only=False), known.get(unit.theorem)
        if verdict is None:
            continue
        present = theorem is not None and unit.experiment < len(theorem.experiments)
        values = (
            unit.theorem,
            unit.experiment,
            type(theorem.experiments[unit.experiment]).__name__ if theorem and present else "",
            str(theorem.expected) if theorem else "",
            str(verdict.status),
            verdict.grade,
            verdict.scope,
            verdict.tightness,
            verdict.seconds,
            verdict.note,
            str(theorem.source) if theorem else "",
            unit.seed,
            unit.budget,
            unit.key,
            verdict.to_json(),
        )
        found.append(dict(zip(COLUMNS, values, strict=True)))
    return found


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
    LookupError
        As `rows`.
    """
    if path.suffix not in (".csv", ".parquet"):
        msg = f"path(={path}) must end in .csv or .parquet"
        raise ValueError(msg)
    table = rows(evidence)
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(table)
    else:
        _write_parquet(table, path)
    return len(table)


def _write_parquet(table: list[dict[str, Any]], path: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        msg = f"path(={path}) needs pyarrow: install it, or write .csv"
        raise ValueError(msg) from error
    whole, real = (
        {"experiment": pa.int64(), "seed": pa.int64()},
        {"tightness": pa.float64(), "seconds": pa.float64()},
    )
    types = [(name, {**whole, **real}.get(name, pa.string())) for name in COLUMNS]
    pq.write_table(pa.Table.from_pylist(table, schema=pa.schema(types)), path)
