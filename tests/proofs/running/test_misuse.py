"""Whatever is wrong about a call of `proofs_check`, one line says so, and in JSON if asked."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from proofs_check.__main__ import app

CALLS = {
    "prove": "No such command 'prove'; `proofs_check --help`",
    "--loud": "No such option.*--loud",
    "list --status maybe": "'--status'.*'maybe' is not one of 'proved'.*`proofs_check list",
    "list zz* --json": r"no theorem 'zz\*'.*`list` shows all",
    "list --catalogue broken.py --json": r"catalogue\(=broken\.py\) cannot be imported: Syntax",
    "list --catalogue none.py": r"catalogue\(=none\.py\) is no file",
    "run --jobs 0": "'--jobs'.*1.*'0'.*`proofs_check run --help`",
    "run --jobs=many --json": "'--jobs'.*'many'",
    "run --time-limit 0 --json": r"time_limit\(=0\.0\) must be positive: give seconds",
    "run --evidence folder --json": r"evidence\(=folder\) is a folder",
    "run --evidence text --json": r"evidence\(=text\) is no SQLite file",
    "run --evidence other.sqlite": r"belongs to another program",
    "show": "Missing argument.*KEY",
    "show nothing --json": "no theorem 'nothing'",
    "replay nothing": "no theorem 'nothing'",
    "audit f --json": r"target\(='f'\) must read PACKAGE:FUNCTION",
    "audit f:f --sizes a,b --json": r"sizes\(=a,b\) must be whole numbers",
    "audit f:f --time-limit 0": r"time_limit\(=0\.0\) must be positive",
    "faults nothing --json": "no fault 'nothing'",
    "faults --store text": r"store\(='text'\) line 1 is no record",
    "figures zz*": r"no figure is called 'zz\*': there are degrees",
    "figures --format gif": r"format\(=gif\) must be some of svg, png, csv",
    "figures degrees --budget quick --out text": r"text cannot be written \(Not a directory\)",
    "report --evidence none": r"evidence\(=none\) does not exist: carry out",
    "report --evidence empty": r"evidence\(=empty\) holds no campaign",
    "report --format pdf": "'--format'.*'pdf'",
    "export t.txt --evidence empty": r"path\(=t\.txt\) must end in \.csv or \.parquet",
    "hunt --time-limit 0 --json": r"time_limit\(=0\.0\) must be positive",
    "hunt --problems 5 --time-limit 0": r"time_limit\(=0\.0\) must be positive",
    "hunt --methods odd --json": r"methods\(='odd'\)",
    "hunt --replay list.jsonl --json": r"replay\(='\[1\]'\) is no JSON object",
    "hunt --replay text --json": r"replay\(='text'\) is no JSON",
    "hunt --replay {} --json": r"line\(=\{\}\) is no finding",
    "hunt --store none --table": r"store\(='none'\) cannot be read",
}


@pytest.fixture
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the files of the calls lie."""
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    texts = {"text": "text\n", "empty": "", "list.jsonl": "[1]\n", "broken.py": "def f(:\n"}
    for name, text in texts.items():
        Path(name).write_text(text)
    with sqlite3.connect("other.sqlite") as other:
        other.execute("create table t (a)")
    other.close()


@pytest.mark.usefixtures("_folder")
@pytest.mark.parametrize("call", CALLS)
def test_one_line_and_status_2(call: str) -> None:
    result = CliRunner().invoke(app, call.split(), prog_name="proofs_check")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert re.match(f"error: .*{CALLS[call]}", line)
    if "--json" in call:
        assert json.loads(result.stdout) == {"error": line}
    else:
        assert not result.stdout


def test_names_of_figures_are_beginnings_or_patterns() -> None:
    def listed(*names: str) -> list[str]:
        return CliRunner().invoke(app, ["figures", *names, "--list"]).stdout.split()

    assert listed("yoso") == ["yoso-weight", "yoso-error", "yoso-tokens"]
    assert listed("*-cost", "degrees") == ["degrees", "heads-cost"]
    assert listed("[rg]e*") == ["regimes", "regime-map"]


def test_a_list_of_none_says_so() -> None:
    found = CliRunner().invoke(app, ["list", "--paper", "nobody"])
    assert (found.exit_code, found.stdout) == (
        0,
        "no theorem fits: `list` without filters shows all\n",
    )
