"""Theorems of somebody else: run by the same commands, their evidence kept apart from ours; and
theorems chosen by the beginnings of their keys.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from proofs_check import catalogue
from proofs_check.__main__ import app
from proofs_check.running.evidence import Evidence, fingerprint
from proofs_check.running.foreign import find

SQUARES = '''
"""Two statements about squares."""
from proofs_check import Count, Source, Theorem

SOURCE = Source(citation="proved here", place="squares.py", fidelity="ours")

def square(n): return n * n
def sum_of_odd(n): return sum(range(1, 2 * n, 2))
def double(n): return 2 * n

def count(formula):
    return Count(measured=sum_of_odd, formula=formula, sizes=(1, 2, 3), covers="statement",
                 scope="n = 1, 2, 3")

def entry(key, formula, expected):
    return Theorem(key=key, title=key, statement=key, source=SOURCE, expected=expected,
                   experiments=(count(formula),), mutant=count(double),
                   kind="implied" if expected == "refuted" else None)

THEOREMS = (entry("squares.odd", square, "proved"), entry("{last}", double, "refuted"))
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of somebody else, whose modules are forgotten afterwards."""
    (tmp_path / "squares.py").write_text(SQUARES.replace("{last}", "squares.double"), "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def complaint(*arguments: object) -> str:
    """The one line of a misuse."""
    done = call(*arguments)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    return line


def test_a_catalogue_of_ones_own(here: Path) -> None:
    done = call("run", "--catalogue", "squares", "--json", "--jobs", "1")
    assert done.exit_code == 0, done.output
    found = {r["key"]: r["verdict"]["status"] for r in json.loads(done.stdout)["results"]}
    assert (found["squares.odd"], found["squares.double"]) == ("proved", "refuted")
    assert "controls.count-false" in found, "controls run with every campaign"
    ours = catalogue.theorems().items()
    assert not any(catalogue.is_statement(t) and key in found for key, t in ours)
    store = here / "report" / "squares.sqlite"
    with Evidence(store, copy=True) as evidence:
        last = evidence.last_campaign()
    assert last is not None
    assert last[1]["catalogue"] == "squares"
    again = call("run", "squares.o", "--catalogue", here / "squares.py", "--json")
    assert again.exit_code == 0
    keys = {r["key"] for r in json.loads(again.stdout)["results"]}
    assert "squares.odd" in keys
    assert "squares.double" not in keys
    replayed = call("replay", "squares.double", "--catalogue", "squares")
    assert replayed.exit_code == 0, replayed.output
    assert "violated: True" in replayed.stdout
    said = "holds the verdicts of the catalogue squares, which are kept apart from ours"
    assert said in complaint("run", "controls.count-true", "--evidence", store)
    assert said in complaint("report", "--evidence", store)
    assert said in complaint("export", here / "out.csv", "--evidence", store)
    assert not (here / "report" / "evidence.sqlite").exists()


def test_our_evidence_takes_no_other(here: Path) -> None:
    with Evidence(here / "ours.sqlite") as evidence:
        evidence.begin([])
    said = complaint("run", "--catalogue", "squares", "--evidence", here / "ours.sqlite")
    assert "holds the verdicts of ours, which are kept apart from the catalogue squares" in said
    assert "name another file with --evidence" in said


def test_a_wrong_verdict_is_exit_status_1(here: Path) -> None:
    text = SQUARES.replace("{last}", "squares.double")
    (here / "wrong.py").write_text(text.replace('square, "proved"', 'double, "proved"'), "utf-8")
    done = call("run", "squares.odd", "--catalogue", "wrong.py")
    assert done.exit_code == 1, done.output


@pytest.mark.usefixtures("here")
def test_list_and_show_take_it() -> None:
    done = call("list", "--catalogue", "squares", "--json")
    assert [t["key"] for t in json.loads(done.stdout)] == ["squares.odd", "squares.double"]
    assert "squares.py" in call("show", "squares.odd", "--catalogue", "squares").stdout
    assert "did you mean squares.odd" in complaint("show", "squares.od", "--catalogue", "squares")
    assert "squares.od" in complaint("replay", "squares.od", "--catalogue", "squares")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("THEOREMS = (1,)", "has no THEOREMS, a tuple of proofs_check.Theorem"),
        ("", "has no THEOREMS"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("raise SystemExit(0)", "cannot be imported: SystemExit: 0"),
        (SQUARES.replace("{last}", "squares.odd"), "key(='squares.odd') occurs twice"),
        (SQUARES.replace("{last}", "yoso.triple"), "the key 'yoso.triple', which is ours"),
    ],
)
def test_what_is_no_catalogue(text: str, said: str, here: Path) -> None:
    (here / "other.py").write_text(text, encoding="utf-8")
    assert said in complaint("list", "--catalogue", "other")
    assert said in complaint("run", "--catalogue", here / "other.py")


def test_names_that_lead_nowhere(here: Path) -> None:
    assert "No module named 'nothing'" in complaint("run", "--catalogue", "nothing")
    assert "nothing.py) is no file" in complaint("run", "--catalogue", "nothing.py")
    (here / "json.py").write_text("THEOREMS = ()", encoding="utf-8")
    said = complaint("run", "--catalogue", here / "json.py")
    assert "has the name of another module" in said
    assert "rename the file" in said


def test_every_file_of_a_package_counts(here: Path) -> None:
    package = here / "squares_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from squares_of_mine.parts import THEOREMS\n", encoding="utf-8"
    )
    (package / "parts.py").write_text(SQUARES.replace("{last}", "squares.double"), "utf-8")
    foreign = find("squares_of_mine")
    assert list(foreign.theorems()) == ["squares.odd", "squares.double"]
    before = fingerprint(foreign.modules)
    assert fingerprint(foreign.modules) == before != fingerprint(())
    with (package / "parts.py").open("a", encoding="utf-8") as file:
        file.write("NUMBER = 1\n")
    assert fingerprint(foreign.modules) != before


# --- beginnings of keys ---------------------------------------------------------------------------


def keys(*arguments: Any) -> list[str]:
    return [t["key"] for t in json.loads(call("list", "--json", *arguments).stdout)]


def test_beginnings_of_keys_choose_theorems() -> None:
    every = list(catalogue.theorems(timed=True))
    yoso = [key for key in every if key.startswith("yoso")]
    assert keys("yoso") == yoso != []
    assert keys("yoso.t", "as23") == [k for k in every if k.startswith(("yoso.t", "as23"))]
    assert keys() == every
    short = [key for key in every if any(o != key and o.startswith(key) for o in every)]
    for key in [*short, every[0]][:2]:
        assert keys(key) == [key], "a key is that theorem alone"


def test_a_beginning_that_no_key_has_is_told_with_near_ones() -> None:
    for command in ("run", "list"):
        assert (
            "no theorem 'yosso', nor one whose key begins so or fits it: did you mean yoso"
            in complaint(command, "yosso")
        )
    assert "nor one whose key begins so" in complaint("run", "")


def test_run_takes_beginnings(here: Path) -> None:
    done = call("run", "controls.count", "--json", "--evidence", here / "e.sqlite")
    assert done.exit_code == 0
    found = {r["key"] for r in json.loads(done.stdout)["results"]}
    assert {"controls.count-true", "controls.count-false"} <= found


def test_the_command_finds_modules_of_its_folder(here: Path) -> None:
    """As the console script does, whose first place of search is not the working folder."""
    code = "import sys; sys.path = sys.path[1:]; from proofs_check.__main__ import main; main()"
    root = str(Path(catalogue.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code, "list", "--catalogue", "squares"],
        cwd=here,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2 statements" in done.stdout
