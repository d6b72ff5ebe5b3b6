"""The table says what the evidence says, and every verdict obeys the shipped schema."""

from __future__ import annotations

import copy
import csv
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from proofs_check.report.table import COLUMNS, rows, schema, write
from proofs_check.running.campaign import Campaign
from proofs_check.running.evidence import Evidence

KEYS = ("as23.score-bound", "lss24.causal-cost", "aa22.minimax-bounds")
"""With the controls, experiments of every status: *argued* is said of whole theorems only."""
VALIDATOR = jsonschema.Draft202012Validator(schema())


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    with Evidence(tmp_path_factory.mktemp("export") / "evidence.sqlite") as store:
        for _ in Campaign(KEYS, jobs=1).run(store):
            pass
        yield store


def test_the_schema_is_one_and_every_verdict_obeys_it(evidence: Evidence) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    table = rows(evidence)
    assert {"proved", "refuted", "supported", "inconclusive"} == {row["status"] for row in table}
    for row in table:
        VALIDATOR.validate(json.loads(row["verdict"]))


def _change(verdict: dict[str, Any], name: str) -> dict[str, Any]:
    wrong = copy.deepcopy(verdict)
    match name:
        case "unknown status":
            wrong["status"] = "plausible"
        case "proof without scope":
            wrong["scope"] = ""
        case "statistical proof":
            wrong["grade"] = "statistical"
        case "missing note":
            del wrong["note"]
        case "bare float":
            wrong["seconds"] = 0.5
        case "extra":
            wrong["confidence"] = 1
        case "refuted without witness":
            wrong["status"] = "refuted"
    return wrong


@pytest.mark.parametrize(
    "name",
    [
        "unknown status",
        "proof without scope",
        "statistical proof",
        "missing note",
        "bare float",
        "extra",
        "refuted without witness",
    ],
)
def test_the_schema_can_fail(name: str, evidence: Evidence) -> None:
    proof = next(
        json.loads(row["verdict"]) for row in rows(evidence) if row["theorem"] == "as23.score-bound"
    )
    VALIDATOR.validate(proof)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(_change(proof, name))


def test_csv(evidence: Evidence, tmp_path: Path) -> None:
    path = tmp_path / "evidence.csv"
    count = write(evidence, path)
    with path.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert len(found) == count == len(rows(evidence))
    assert tuple(found[0]) == COLUMNS
    assert {row["theorem"] for row in found} >= set(KEYS)
    assert next(row for row in found if row["theorem"] == "lss24.causal-cost")["kind"] == "Count"


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_parquet(evidence: Evidence, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "evidence.parquet"
    assert write(evidence, path) == len(rows(evidence))
    assert pq.read_table(path).to_pylist() == rows(evidence)


def test_misuse(evidence: Evidence, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.csv or \.parquet"):
        write(evidence, tmp_path / "evidence.txt")
    with (
        Evidence(tmp_path / "empty.sqlite") as empty,
        pytest.raises(LookupError, match="no campaign"),
    ):
        rows(empty)
    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(ValueError, match="needs pyarrow"):
            write(evidence, tmp_path / "evidence.parquet")
