"""What the commands print: in any encoding, on 80 columns, and to a disk that is full."""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from proofs_check import Status, Verdict, catalogue
from proofs_check.__main__ import app
from proofs_check.running.campaign import Campaign
from proofs_check.running.evidence import Evidence

ROOT = Path(__file__).parents[3]
KEY = "controls.falsify-false"

ENCODINGS: dict[str, dict[str, str]] = {
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}

COMMANDS: dict[str, tuple[tuple[str, ...], int]] = {
    "help": (("--help",), 0),
    "list": (("list",), 0),
    "list --json": (("list", "--json"), 0),
    "show": (("show", "as23.normaliser-error"), 0),
    "run": (("run", KEY, "--jobs", "1", "--evidence", "é.sqlite"), 0),
    "run --json": (("run", KEY, "--jobs", "1", "--json", "--evidence", "é.sqlite"), 0),
    "replay": (("replay", "controls.count-false", "--evidence", "é.sqlite"), 0),
    "report": (
        ("report", "--format", "md", "--format", "json", "--out", "ü≤", "--evidence", "é.sqlite"),
        0,
    ),
    "errata": (("errata", "--out", "≤.md", "--evidence", "é.sqlite"), 0),
    "export": (("export", "≤.csv", "--evidence", "é.sqlite"), 0),
    "audit": (("audit", "mine:attention", "--time-limit", "120"), 1),
    "faults": (("faults", "collision.bits", "--no-control"), 1),
    "faults --json": (("faults", "collision.bits", "--no-control", "--json"), 1),
    "misuse": (("show", "é≤"), 2),
    "no store": (("report", "--evidence", "≤.sqlite"), 2),
}
"""Arguments, and the exit status that belongs to them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a store that answers all, and a function with an odd complaint."""
    folder = tmp_path_factory.mktemp("terminal")
    theorems = catalogue.theorems()
    refuted = [t for t in theorems.values() if t.expected is Status.REFUTED]
    repairs = {t.repaired_by for t in refuted if t.repaired_by}
    campaign = Campaign({t.key for t in refuted} | repairs)
    with Evidence(folder / "é.sqlite") as store:
        for unit in campaign.units:
            theorem = campaign.theorems[unit.theorem]
            store.put(unit, stand_in(theorem.expected, theorem.covers[unit.experiment]))
        store.begin(campaign.units)
    (folder / "mine.py").write_text(
        "def attention(q, k, v):\n    raise ValueError('é ≤ \\ud800')\n", encoding="utf-8"
    )
    return folder


def stand_in(expected: Status, covers: str) -> Verdict:
    """A verdict that leads to that status, with letters that few encodings have."""
    if expected is Status.ARGUED:
        expected = Status.PROVED if covers == "step" else Status.INCONCLUSIVE
    if expected is Status.INCONCLUSIVE:
        return Verdict(status=expected, note="é ≤ 𝛼")
    grade = "statistical" if expected is Status.SUPPORTED else "counted"
    facts = {"p_support": 1e-12, "p_refute": 1.0} if grade == "statistical" else {}
    witness = {"size": 3} if expected is Status.REFUTED else None
    return Verdict(
        status=expected, grade=grade, scope="é ≤ 𝛼", note="ü", facts=facts, witness=witness
    )


def call(
    arguments: tuple[str, ...], encoding: str, folder: Path, **further: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "proofs_check", *map(os.fsencode, arguments)],
        cwd=folder,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **ENCODINGS[encoding], **further},
    )


COSTLY = ("errata", "faults", "faults --json", "audit", "run --json")
"""Commands that take seconds; they meet the narrowest encoding only."""


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        (name, encoding)
        for name, encoding in itertools.product(COMMANDS, ENCODINGS)
        if encoding != "utf-8" and (name not in COSTLY or encoding == "ascii")
    ],
)
def test_no_command_fails_for_the_encoding(name: str, encoding: str, folder: Path) -> None:
    arguments, status = COMMANDS[name]
    done = call(arguments, encoding, folder)
    assert b"Traceback" not in done.stderr, done.stderr.decode("utf-8", "replace")
    assert done.returncode == status, (done.stdout, done.stderr)
    text = done.stdout.decode("cp1252" if encoding == "cp1252" else "utf-8")
    if name.endswith("--json"):
        data = json.loads(text)
        assert data
        if name == "list --json":
            titles = {entry["key"]: entry["title"] for entry in data}
            assert titles == {t.key: t.title for t in catalogue.theorems(timed=True).values()}
    elif name == "replay":
        ast.parse(text.partition("# prints")[0])
    elif name == "show":
        assert "?" in text  # the statement has letters that are not there


def test_the_python_of_replay_means_the_same_in_every_encoding(folder: Path) -> None:
    """What cannot be written is escaped, not replaced: it may stand inside of a string."""
    trees = {
        ast.dump(ast.parse(call(COMMANDS["replay"][0], e, folder).stdout.partition(b"# prints")[0]))
        for e in ("utf-8", "ascii")
    }
    assert len(trees) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("name", ["help", "list", "list --json", "export"])
def test_standard_output_on_a_full_disk(name: str, folder: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "proofs_check", *COMMANDS[name][0]],
            cwd=folder,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line == "error: standard output cannot be written (No space left on device)"


def test_who_reads_may_go(folder: Path) -> None:
    """As `head` does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "proofs_check", "list", "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 1


# --- help -----------------------------------------------------------------------------------------


def test_every_command_is_summed_up_on_one_line_of_80_columns(folder: Path) -> None:
    text = call(("--help",), "utf-8", folder, COLUMNS="80", TERM="dumb").stdout.decode()
    panel = text[text.index("Commands") :].splitlines()[1:]
    lines = [line.strip(" │|") for line in panel if re.match(r"[│|] ", line)]
    names = [command.name for command in app.registered_commands]
    assert [line.split()[0] for line in lines] == names
    assert all(line.endswith(".") for line in lines)


@pytest.mark.parametrize("command", ["run", "audit", "errata", "pages"])
def test_paragraphs_of_help_are_broken_by_the_terminal_only(command: str, folder: Path) -> None:
    """No line ends early: the first word of the next one would not have fitted."""
    text = call((command, "--help"), "utf-8", folder, COLUMNS="80", TERM="dumb").stdout.decode()
    lines = [line.strip() for line in re.split("[╭+]", text)[0].splitlines()]
    pairs = [(a, b) for a, b in itertools.pairwise(lines) if a and b]
    assert pairs
    assert all(len(f"{a} {b.split()[0]}") > 78 for a, b in pairs)


@pytest.mark.parametrize("command", app.registered_commands, ids=lambda c: str(c.name))
def test_the_first_sentence_stands_alone(command: object) -> None:
    text = command.callback.__doc__  # type: ignore[attr-defined]
    first, *further = text.split("\n\n")
    assert "\n" not in first
    assert first.count(". ") == 0
    with_status = ("run", "replay", "errata", "pages", "audit", "faults")
    if command.name in with_status:  # type: ignore[attr-defined]
        assert re.search(r"Exit\s+status\s+0\s+when", "".join(further))


def test_without_a_terminal_columns_says_how_wide(folder: Path) -> None:
    command = [sys.executable, "-m", "proofs_check", "list", "linformer."]
    widths = []
    for columns in ("70", ""):
        environment = {**os.environ, "COLUMNS": columns, "PYTHONPATH": str(ROOT)}
        text = subprocess.run(
            command, capture_output=True, encoding="utf-8", check=True, env=environment, cwd=folder
        ).stdout
        widths.append(max(map(len, text.splitlines())))
    assert widths[0] == 70
    assert 100 < widths[1] <= 160
