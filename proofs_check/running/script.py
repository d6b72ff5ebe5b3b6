"""Run Python source in a fresh process and take down what it prints."""

from __future__ import annotations

import subprocess
import sys

from proofs_check.checkers.fresh import environment_of_children

__all__ = ["run_script"]


def run_script(code: str) -> tuple[int, str]:
    """Return the exit status, and what was printed, complaints last.

    The source goes in by standard input: a witness may be longer than a command line.
    """
    done = subprocess.run(
        [sys.executable, "-"],
        check=False,
        capture_output=True,
        input=code.encode("ascii", "backslashreplace"),
        env={**environment_of_children(), "PYTHONIOENCODING": "utf-8"},
    )
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    return done.returncode, text.rstrip()
