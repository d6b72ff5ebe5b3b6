"""The command line: exit codes, JSON, replay, and a quick --help."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from proofs_check import catalogue
from proofs_check.__main__ import app
from proofs_check.running import campaign
from proofs_check.running.evidence import Evidence
from proofs_check.statements.theorem import Theorem

ROOT = Path(__file__).resolve().parents[3]


def call(*arguments: str | Path) -> Result:
    # pytest-xdist has COLUMNS
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": None})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evidence of the controls."""
    path = tmp_path_factory.mktemp("evidence") / "e.sqlite"
    assert call("run", *CONTROLS, "--evidence", path, "--jobs", "1").exit_code == 0
    return path


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
CONTROLS = [key for key in catalogue.theorems() if catalogue.is_control(key)]


def test_run_shows_a_line_per_theorem(store: Path) -> None:
    result = call("run", "controls.count-true", "--evidence", store)
    assert result.exit_code == 0
    for key in CONTROLS:
        (line,) = (line for line in result.stdout.splitlines() if line.strip().startswith(key))
        assert str(catalogue.theorem(key).expected) in line
    counted = f"0 statements: none. Besides: {len(CONTROLS)} controls, known to be true or false"
    assert counted in result.stdout
    assert result.stdout.endswith("every verdict is as expected\n")


def test_the_time_limit_is_exit_status_3_and_the_same_command_goes_on(
    store: Path, tmp_path: Path
) -> None:
    arguments = ("run", *CONTROLS, "--evidence", tmp_path / "e.sqlite", "--jobs", "1")
    early = call(*arguments, "--time-limit", "0.001")
    assert early.exit_code == 3
    assert f"incomplete: {len(CONTROLS)} experiments are left" in early.stdout
    assert "unexpected" not in early.stdout
    assert json.loads(call(*arguments, "--time-limit", "0.001", "--json").stdout)["missing"] == len(
        CONTROLS
    )
    assert call(*arguments).exit_code == 0
    assert digest(tmp_path / "e.sqlite") == digest(store)


def digest(path: Path) -> str:
    with Evidence(path) as evidence:
        return evidence.digest(campaign.Campaign(CONTROLS).units)


def test_an_interrupt_is_exit_status_130(store: Path, tmp_path: Path) -> None:
    arguments = ["run", *CONTROLS, "--evidence", str(tmp_path / "e.sqlite"), "--jobs", "1"]
    command = [sys.executable, "-m", "proofs_check", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    wanted = campaign.Campaign(CONTROLS)
    while process.poll() is None:
        with Evidence(tmp_path / "e.sqlite") as evidence:
            if wanted.stored(evidence):
                break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    errors = process.communicate()[1]
    assert process.returncode == 130
    assert re.search(r"interrupted: [1-9][0-9]* of [0-9]+ experiments are left", errors)
    assert "Traceback" not in errors
    assert call(*arguments).exit_code == 0
    assert digest(tmp_path / "e.sqlite") == digest(store)


def test_run_json_is_json(store: Path) -> None:
    data = json.loads(call("run", "controls.count-true", "--json", "--evidence", store).stdout)
    assert data["ok"] is True
    assert data["failed_controls"] == []
    found = {r["key"]: r for r in data["results"]}
    assert found["controls.falsify-false"]["verdict"]["status"] == "refuted"
    assert found["controls.falsify-false"]["verdict"]["witness"]["v1"]["hex"].startswith(
        ("0x", "-0x")
    )


def test_what_did_not_finish_is_named_where_all_is_as_expected(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not finished" not in call("run", *CONTROLS, "--evidence", store).output
    monkeypatch.setitem(campaign.LIMITS, "quick", 0.0)
    late = call("run", "code.fitted-polynomial", "--evidence", tmp_path / "e.sqlite")
    said = " ".join(late.stdout.split())
    assert "not finished, by time-out or crash: experiments of code.fitted-polynomial" in said


def test_an_unexpected_verdict_is_exit_status_1(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conclude = campaign.Campaign.conclude

    def other(self: campaign.Campaign, evidence: object) -> campaign.Outcome:
        self.theorems = {k: t for k, t in self.theorems.items() if k != "controls.count-true"}
        outcome = conclude(self, evidence)  # type: ignore[arg-type]
        return campaign.Outcome(
            results=outcome.results, failed_controls=("controls.count-true",), contradictions=()
        )

    monkeypatch.setattr(campaign.Campaign, "conclude", other)
    assert call("run", "controls.count-true", "--evidence", store).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("run", "controls.cont-true"), "controls.count-true"),
        (("show", "controls.cont-true"), "controls.count-true"),
        (("replay", "controls.cont-true"), "controls.count-true"),
        (("run", "--budget", "huge"), "huge"),
        (("run", "--jobs", "0"), "--jobs"),
        (("run", "--time-limit", "0"), "time_limit"),
        (("run", "--time-limit", "nan"), "time_limit"),
        (("run", "--seed", str(2**63)), "seed(=9223372036854775808)"),
        (("replay", "controls.count-true", "--seed", str(-(2**64))), "must lie below 2^63"),
        (("prove",), "prove"),
        (("list", "zz*"), "'zz*'"),
        (("list", "--status", "maybe"), "maybe"),
        (("list", "--kind", "odd"), "odd"),
        (("figures", "--format", "gif"), "format(=gif)"),
        (("report", "--evidence", "nowhere.sqlite"), "does not exist"),
    ],
)
def test_misuse_is_exit_status_2(arguments: tuple[str, ...], complaint: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert complaint in _plain(result.stderr)


def _plain(text: str) -> str:
    """The text without colours, which go where the terminal wants them."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_list_says_what_only_the_full_budget_of_run_checks() -> None:
    first = call("list").stdout.split()
    whole = len(catalogue.theorems(timed=True))
    timed = whole - len(catalogue.theorems())
    text = " ".join(first)
    assert f"The full budget of `run` alone checks {timed} of them." in text
    rest = [int(n) for n in re.findall(r"(\d+) (?:statements|controls|of bookkeeping)", text)]
    assert sum(rest) == whole
    (line,) = [x for x in call("list", "ours.tanh").stdout.splitlines() if "statement" in x]
    assert line.startswith("1 statement: 1 proved. Besides: 0 controls")


def test_list_and_show() -> None:
    listed = call("list")
    assert listed.exit_code == 0
    assert all(key in listed.stdout for key in CONTROLS)
    entries = json.loads(call("list", "--json").stdout)
    assert {e["key"] for e in entries} == set(catalogue.theorems(timed=True))
    shown = call("show", "controls.falsify-false").stdout
    assert catalogue.theorem("controls.falsify-false").statement in shown
    assert "controls.falsify-true" in shown


@pytest.mark.parametrize(
    ("arguments", "fits"),
    [
        (("*.theorem-?",), lambda t: t.key in ("linformer.theorem-1", "linformer.theorem-2")),
        (
            ("--status", "refuted", "--status", "argued"),
            lambda t: str(t.expected) in ("refuted", "argued"),
        ),
        (("--kind", "control"), lambda t: t.key.startswith("controls.")),
        (("--kind", "code"), lambda t: catalogue.sort_of(t) == "code"),
        (("--paper", "LINFORMER"), lambda t: t.key.startswith("linformer.")),
        (("--paper", "Wang"), lambda t: "Wang" in t.source.citation),
        (("ours.h", "--status", "refuted"), lambda t: t is None),
    ],
)
def test_list_is_filtered(arguments: tuple[str, ...], fits: Callable[[Theorem], bool]) -> None:
    entries = json.loads(call("list", "--json", *arguments).stdout)
    wanted = {t.key for t in catalogue.theorems(timed=True).values() if fits(t)}
    assert {e["key"] for e in entries} == wanted


def test_show_json_says_what_show_says() -> None:
    shown = json.loads(call("show", "linformer.theorem-1", "--json").stdout)
    theorem = catalogue.theorem("linformer.theorem-1")
    assert shown["statement"] == theorem.statement
    assert shown["expected verdict"] == "refuted (printed)"
    assert len(shown["experiments"]) == len(theorem.experiments)


@pytest.mark.parametrize("how", ["in front", "behind", "NO_COLOR"])
def test_no_colours(how: str) -> None:
    words = ["list", "controls."]
    given = {"in front": ["--no-color", *words], "behind": [*words, "--no-color"]}.get(how, words)
    more = {how: "1"} if given == words else {}
    program = [sys.executable, "-m", "proofs_check"]
    forced = {**os.environ, "FORCE_COLOR": "1", "PYTHONPATH": str(ROOT)}
    coloured, command = [*program, *words], [*program, *given]
    text = subprocess.run(coloured, capture_output=True, text=True, check=True, env=forced).stdout
    assert "\x1b[32m" in text
    plain = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**forced, **more}
    ).stdout
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)
    assert _plain(plain) == _plain(text)


def test_behind_two_dashes_no_color_is_a_key() -> None:
    assert "no theorem '--no-color'" in call("list", "--", "--no-color").stderr


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("controls.falsify-false", "violated: True"),
        ("controls.enclose-false", "lhs:"),
        ("controls.count-false", "formula: 6"),
        ("controls.symbolic-false", "refuted symbolic"),
        ("controls.sample-false", "refuted statistical"),
        ("controls.falsify-true", "not refuted"),
    ],
)
def test_replay_prints_a_script_that_runs_alone(
    key: str, expected: str, store: Path, tmp_path: Path
) -> None:
    result = call("replay", key, "--evidence", store)
    assert result.exit_code == 0
    code, printed = result.stdout.split("# prints")
    assert expected in printed
    script = tmp_path / "replay.py"
    script.write_text(code)
    alone = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert alone.stdout.strip() == printed.strip()


def test_replay_leaves_the_last_campaign_alone(store: Path) -> None:
    call("run", *CONTROLS, "--evidence", store)
    call("replay", "controls.count-true", "--evidence", store)
    with Evidence(store) as evidence:
        assert {r.theorem.key for r in campaign.last_outcome(evidence).results} == set(CONTROLS)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, proofs_check.__main__; print(*sorted({'sympy', 'flint', 'scipy', "
        "'hypothesis', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert done.stdout.strip() == ""
