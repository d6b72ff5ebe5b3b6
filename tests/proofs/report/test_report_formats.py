"""The report in its other forms: JSON that obeys its schema, JUnit that fails where it must,
Markdown; and what a campaign's evidence may say at all.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from proofs_check import catalogue
from proofs_check.report.files import FILES, write
from proofs_check.report.json_document import document, schema
from proofs_check.report.junit import junit
from proofs_check.report.markdown import markdown
from proofs_check.running.campaign import Campaign, Outcome, last_outcome
from proofs_check.running.evidence import Evidence
from proofs_check.running.replay import source
from proofs_check.statements.experiment import Falsify
from proofs_check.statements.verdict import Status, Verdict, inconclusive

REFUTED = [
    t
    for t in catalogue.theorems().values()
    if t.expected is Status.REFUTED and not catalogue.is_control(t.key)
]
REPAIRED = next(t for t in REFUTED if catalogue.is_erratum(t) and t.repaired_by)
KEYS = (
    REPAIRED.key,
    str(REPAIRED.repaired_by),
    *(next(t.key for t in REFUTED if t.kind == kind) for kind in ("code", "implied", "sharpness")),
    "linformer.theorem-1",
    "ours.value-range",
    "linformer.lemma-1",
)
VALIDATOR = jsonschema.Draft202012Validator(schema())
FACTS = {"python": "3", "system": "none"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    campaign = Campaign(KEYS, jobs=1)
    with Evidence(tmp_path_factory.mktemp("formats") / "evidence.sqlite") as evidence:
        for _ in campaign.run(evidence):
            pass
        yield evidence


@pytest.fixture(scope="module")
def outcome(store: Evidence) -> Outcome:
    return last_outcome(store)


def broken(outcome: Outcome, key: str) -> Outcome:
    """The same with one verdict lost."""
    results = [
        replace(r, verdict=inconclusive("it <broke>\0")) if r.theorem.key == key else r
        for r in outcome.results
    ]
    return replace(
        outcome, results=tuple(results), failed_controls=(key,) if catalogue.is_control(key) else ()
    )


# --- what the stored evidence of a campaign may say -----------------------------------------------


def test_nothing_is_proved_without_a_scope(outcome: Outcome) -> None:
    proved = [
        v for r in outcome.results for v in (r.verdict, *r.verdicts) if v.status is Status.PROVED
    ]
    assert len(proved) > 10
    assert all(v.scope.strip() for v in proved)


def test_nothing_is_refuted_without_a_witness_that_a_fresh_process_confirms(
    store: Evidence, outcome: Outcome
) -> None:
    """Every refutation in the store: the script that `replay` prints exits 0 in a new interpreter
    exactly if the witness refutes.
    """
    refuted = 0
    for result in outcome.results:
        for unit in result.units:
            stored = store.get(unit)
            assert stored is not None
            if stored.status is not Status.REFUTED:
                continue
            refuted += 1
            assert stored.witness, unit
            done = run(source(result.theorem, unit, stored))
            assert done.returncode == 0, (unit, done.stdout, done.stderr)
            if isinstance(result.theorem.experiments[unit.experiment], Falsify):
                assert "violated: True" in done.stdout
    assert refuted >= 10  # six controls, and all kinds of experiments among the rest


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("key", "witness"),
    [
        ("controls.count-false", {"size": 2, "counted": 20, "formula": 24}),
        ("controls.enclose-false", {"point": [0.0]}),
        ("controls.falsify-false", {"s": 0.0, "v1": 0.0, "v2": 0.0}),
    ],
)
def test_a_script_with_a_witness_that_refutes_nothing_says_so(
    key: str, witness: dict[str, Any], outcome: Outcome
) -> None:
    """The same script, a witness on which the statement holds: exit status 1, except where no such
    witness exists.
    """
    result = next(r for r in outcome.results if r.theorem.key == key)
    stored = result.verdicts[0]
    code = source(result.theorem, result.units[0], replace(stored, witness=witness))
    status = run(code).returncode
    assert status == (0 if key == "controls.count-false" else 1)


# --- JSON -----------------------------------------------------------------------------------------


def test_the_document_obeys_its_schema_and_loses_nothing(outcome: Outcome) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    data = document(outcome, FACTS)
    VALIDATOR.validate(data)
    assert [t["key"] for t in data["theorems"]] == [r.theorem.key for r in outcome.results]
    for entry, result in zip(data["theorems"], outcome.results, strict=True):
        assert Verdict.from_json(json.dumps(entry["verdict"])) == result.verdict
        assert [Verdict.from_json(json.dumps(e["verdict"])) for e in entry["experiments"]] == list(
            result.verdicts
        )
    assert data["ok"] is True
    counted = [r.theorem for r in outcome.results if catalogue.is_statement(r.theorem)]
    assert sum(data["counts"].values()) == len(counted)
    refuted = [
        r.theorem
        for r in outcome.results
        if r.verdict.status is Status.REFUTED and not catalogue.is_control(r.theorem.key)
    ]
    errata = {e["key"] for paper in data["errata"] for e in paper["entries"]}
    assert errata == {t.key for t in refuted if catalogue.is_erratum(t)}
    assert {e["key"] for e in data["stronger"]} == {t.key for t in refuted} - errata
    assert [p["paper"] for p in data["coverage"]] == list(catalogue.coverage())
    for entry, result in zip(data["theorems"], outcome.results, strict=True):
        assert [e["covers"] for e in entry["experiments"]] == list(result.theorem.covers)


def _without_scope(data: Any) -> None:
    next(t for t in data["theorems"] if t["verdict"]["status"] == "proved")["verdict"]["scope"] = ""


def _without_witness(data: Any) -> None:
    next(t for t in data["theorems"] if t["verdict"]["status"] == "refuted")["experiments"][0][
        "verdict"
    ]["witness"] = None


def _unknown_field(data: Any) -> None:
    data["theorems"][0]["colour"] = "red"


def _no_source(data: Any) -> None:
    data["theorems"][0]["source"]["place"] = ""


@pytest.mark.parametrize("spoil", [_without_scope, _without_witness, _unknown_field, _no_source])
def test_the_schema_refuses(spoil: Any, outcome: Outcome) -> None:
    data = copy.deepcopy(document(outcome, FACTS))
    VALIDATOR.validate(data)
    spoil(data)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(data)


# --- JUnit ----------------------------------------------------------------------------------------


def test_junit_has_one_case_a_theorem_and_none_fails_in_a_good_run(outcome: Outcome) -> None:
    suite = ET.fromstring(junit(outcome).encode())  # noqa: S314 - our own text
    names = [f"{c.get('classname')}.{c.get('name')}" for c in suite.iter("testcase")]
    assert names == [r.theorem.key for r in outcome.results]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == (
        str(len(names)),
        "0",
        "0",
    )
    assert suite.find(".//failure") is None
    assert all(float(c.get("time", "nan")) >= 0 for c in suite.iter("testcase"))


@pytest.mark.parametrize(
    ("key", "kind"), [("ours.value-range", "failure"), ("controls.count-true", "error")]
)
def test_junit_fails_where_the_run_does(key: str, kind: str, outcome: Outcome) -> None:
    suite = ET.fromstring(junit(broken(outcome, key)).encode())  # noqa: S314 - our own text
    (bad,) = suite.findall(f".//{kind}")
    assert suite.get("failures" if kind == "failure" else "errors") == "1"
    assert bad.get("message", "").startswith("inconclusive instead of")
    assert bad.text == "it <broke>?"


def test_a_contradiction_is_an_error(outcome: Outcome) -> None:
    text = junit(replace(outcome, contradictions=("ours.value-range: proved and refuted at once",)))
    suite = ET.fromstring(text.encode())  # noqa: S314 - our own text
    assert suite.get("errors") == "1"
    assert suite.get("tests") == str(len(outcome.results) + 1)


def test_what_waits_is_skipped_and_no_failure(outcome: Outcome) -> None:
    results = [
        replace(r, verdict=inconclusive("not carried out"), waiting=2)
        if r.theorem.key == "ours.value-range"
        else r
        for r in outcome.results
    ]
    partial = replace(outcome, results=tuple(results), missing=2)
    suite = ET.fromstring(junit(partial).encode())  # noqa: S314 - our own text
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("0", "0", "1")
    data = document(partial, FACTS)
    VALIDATOR.validate(data)
    assert (data["ok"], data["missing"]) == (False, 2)
    text = markdown(partial, FACTS)
    assert "**Not complete**: 1 statements wait" in text
    assert "not as expected" not in text


# --- Markdown -------------------------------------------------------------------------------------


def test_markdown_tables_have_one_row_a_theorem(outcome: Outcome) -> None:
    text = markdown(outcome, FACTS)
    verdicts = text[: text.index("\n## Errata")]
    rows = [line for line in verdicts.splitlines() if line.startswith("| `")]
    assert sorted(re.findall("`([^`]+)`", row)[0] for row in rows) == sorted(
        r.theorem.key for r in outcome.results
    )
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 6, "a bar in a cell must be escaped"
    assert "not as expected" not in text
    assert "- python: 3" in text
    entry = text[text.index(f"### `{REPAIRED.key}`") :]
    repair = catalogue.theorem(str(REPAIRED.repaired_by))
    assert f"True instead, `{repair.key}` ({repair.expected})" in entry


def test_the_first_line_counts_statements_by_verdict_and_the_rest_apart(outcome: Outcome) -> None:
    """Bookkeeping and controls are no statements."""
    key = next(r.theorem.key for r in outcome.results if r.verdict.status is Status.PROVED)
    for name in ("ours.value-range", key):
        results = [
            replace(r, theorem=replace(r.theorem, bookkeeping=True)) if r.theorem.key == name else r
            for r in outcome.results
        ]
        counted = [r for r in results if catalogue.is_statement(r.theorem)]
        first = markdown(replace(outcome, results=tuple(results)), FACTS).splitlines()[2]
        numbers = [f"{sum(r.verdict.status is s for r in counted)} {s}" for s in Status]
        assert first.startswith(f"{len(counted)} statements: {', '.join(numbers)}.")
        controls = sum(catalogue.is_control(r.theorem.key) for r in results)
        assert f"Controls: {controls}" in first
        assert first.endswith(f"not counted: {len(results) - controls - len(counted)}.")


def test_markdown_says_first_what_is_wrong(outcome: Outcome) -> None:
    text = markdown(broken(outcome, "ours.value-range"), FACTS)
    assert (
        "**not as expected**: `ours.value-range` inconclusive instead of proved"
        in text[: text.index("\n## ")]
    )
    text = markdown(broken(outcome, "controls.count-true"), FACTS)
    assert "**Nothing in this run can be trusted**" in text[: text.index("\n## ")]


# --- files ----------------------------------------------------------------------------------------


def test_write_writes_what_is_asked_for(tmp_path: Path, store: Evidence, outcome: Outcome) -> None:
    written = write(
        outcome, store, tmp_path / "deep" / "report", formats=("json", "junit", "md", "json")
    )
    assert [p.name for p in written] == [FILES["json"], FILES["junit"], FILES["md"]]
    assert sorted(p.name for p in (tmp_path / "deep" / "report").iterdir()) == sorted(
        p.name for p in written
    )
    data = json.loads(written[0].read_text(encoding="utf-8"))
    assert data["environment"]["seed"] == "0"
    assert data["environment"]["budget"] == "quick"
    with pytest.raises(
        ValueError, match=r"formats\(=\['pdf'\]\) holds 'pdf': choose from html, md, json, junit"
    ):
        write(outcome, store, tmp_path, formats=("pdf",))


def test_evidence_of_another_version_of_the_catalogue_is_refused(
    tmp_path: Path, store: Evidence, outcome: Outcome
) -> None:
    first = outcome.results[0]
    older = replace(outcome, results=(replace(first, verdicts=(), units=()), *outcome.results[1:]))
    with pytest.raises(
        ValueError,
        match=(
            f"evidence on {first.theorem.key} is of another version of the catalogue: carry out"
        ),
    ):
        write(older, store, tmp_path, formats=("json",))


def test_the_command_line_writes_the_forms(tmp_path: Path, store: Evidence) -> None:
    from typer.testing import CliRunner

    from proofs_check.__main__ import app

    options = [
        "report",
        "--evidence",
        str(store.path),
        "--out",
        str(tmp_path),
        "--format",
        "json",
        "--format",
        "junit",
    ]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 0, done.output
    assert [Path(line).name for line in done.stdout.split()] == ["report.json", "junit.xml"]
    VALIDATOR.validate(json.loads((tmp_path / "report.json").read_text(encoding="utf-8")))
