"""The report as data: everything the web page says about the statements, in one JSON document with
a shipped schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from proofs_check.catalogue import is_control, is_statement, unchecked
from proofs_check.report.coverage import tables
from proofs_check.report.errata import errata, stronger
from proofs_check.report.searches import searches
from proofs_check.report.table import schema as verdict_schema
from proofs_check.running.campaign import Outcome, Result
from proofs_check.statements.verdict import Status

__all__ = ["FORMAT", "document", "schema"]

FORMAT = "proofs-check-report/2"


def document(outcome: Outcome, environment: Mapping[str, str]) -> dict[str, Any]:
    """Plain data, ready for `json.dumps`.

    Parameters
    ----------
    outcome : Outcome
        What a campaign says.
    environment : mapping
        Where and how it ran, as text.
    """
    results = [_result(result) for result in outcome.results]
    claims = [r for r in outcome.results if is_statement(r.theorem)]
    data = {
        "format": FORMAT,
        "ok": outcome.ok,
        "missing": outcome.missing,
        "environment": dict(environment),
        "counts": {str(s): sum(r.verdict.status is s for r in claims) for s in Status},
        "controls": [r.theorem.key for r in outcome.results if is_control(r.theorem.key)],
        "failed_controls": list(outcome.failed_controls),
        "contradictions": list(outcome.contradictions),
        "theorems": results,
        "errata": [
            {"citation": citation, "entries": [asdict(entry) for entry in entries]}
            for citation, entries in errata(outcome.results).items()
        ],
        "stronger": [asdict(e) for es in stronger(outcome.results).values() for e in es],
        "searches": [asdict(line) for line in searches(outcome.results)],
        "coverage": [
            {"paper": t.name, "citations": t.citations, "places": [asdict(p) for p in t.places]}
            for t in tables(outcome.results)
        ],
        "unchecked": [asdict(item) for item in unchecked()],
    }
    # lists in place of tuples
    plain: dict[str, Any] = json.loads(json.dumps(data, allow_nan=False))
    return plain


def _result(result: Result) -> dict[str, Any]:
    theorem = result.theorem
    return {
        "key": theorem.key,
        "title": theorem.title,
        "statement": theorem.statement,
        "source": asdict(theorem.source),
        "reading": theorem.reading,
        "alternative_readings": list(theorem.alternative_readings),
        "assumptions": [a.text for a in theorem.assumptions],
        "uses": list(theorem.uses),
        "repaired_by": theorem.repaired_by,
        "kind": theorem.kind,
        "defence": theorem.defence,
        "bookkeeping": theorem.bookkeeping,
        "remarks": list(theorem.remarks),
        "expected": str(theorem.expected),
        "as_expected": result.as_expected,
        "waiting": result.waiting,
        "verdict": json.loads(result.verdict.to_json()),
        "experiments": [
            {
                "kind": type(experiment).__name__,
                "scope": experiment.scope,
                "covers": experiment.covers,
                "unit": unit.key,
                "seed": unit.seed,
                "budget": unit.budget,
                "verdict": json.loads(verdict.to_json()),
            }
            for experiment, unit, verdict in zip(
                theorem.experiments, result.units, result.verdicts, strict=True
            )
        ],
    }


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the document, that of the verdicts bundled in."""
    text = (Path(__file__).parent / "report.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    found["$defs"]["verdict"] = verdict_schema()
    return found
