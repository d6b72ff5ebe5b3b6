"""An interrupt of a command is one line, while its modules are loaded too."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer.core
from typer.testing import CliRunner

from proofs_check.__main__ import app

ROOT = Path(__file__).resolve().parents[2]
ENDED = (-signal.SIGINT, 130)
"""What a parent process sees, and what a shell does."""

LINES = {"approxattn": "approxattn: interrupted\n", "proofs_check": "interrupted\n"}
"""What each command says."""


@pytest.fixture
def interrupted(tmp_path: Path) -> dict[str, str]:
    """An environment whose numpy is interrupted from the keyboard while it is loaded."""
    (tmp_path / "numpy.py").write_text("import signal; signal.raise_signal(signal.SIGINT)\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}


def ended(arguments: tuple[object, ...], environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, env=environment
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("package", sorted(LINES))
def test_as_a_module(package: str, interrupted: dict[str, str]) -> None:
    status, errors = ended(("-m", package, "--version"), interrupted)
    assert status in ENDED
    assert errors == LINES[package]


@pytest.mark.parametrize("package", sorted(LINES))
def test_as_a_script(package: str, interrupted: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / package
    script.write_text(f"from {package}.__main__ import main\nmain()\n")
    status, errors = ended((script, "--version"), interrupted)
    assert status in ENDED
    assert errors == LINES[package]


@pytest.mark.parametrize("package", sorted(LINES))
def test_programs_that_import_the_package_keep_their_tracebacks(
    package: str, interrupted: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(f"import {package}\n")
    for arguments in (("-c", f"import {package}"), ("-m", "mine"), (tmp_path / "mine.py",)):
        status, errors = ended(arguments, interrupted)
        assert status in ENDED
        assert errors.startswith("Traceback")


def test_while_the_words_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(typer.core.TyperGroup, "make_context", interrupt)
    done = CliRunner().invoke(app, ["list"])
    assert (done.exit_code, done.stderr) == (130, "interrupted\n")
