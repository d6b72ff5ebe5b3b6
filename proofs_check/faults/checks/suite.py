"""Checks that are tests of the suite: they run here, in the process that holds the fault."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


class _Listener:
    """Hears of the first test that failed."""

    def __init__(self) -> None:
        self.failed = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        self._hear(report)

    def pytest_collectreport(self, report: Any) -> None:
        self._hear(report)

    def _hear(self, report: Any) -> None:
        if report.failed and not self.failed:
            said = str(getattr(report.longrepr, "reprcrash", None) or report.longrepr)
            self.failed = f"{report.nodeid}: {' '.join(said.split())[-200:]}"


def file_of(place: str) -> Path:
    """Return the file that holds the tests of a place."""
    return ROOT / shlex.split(place)[0].partition("::")[0]


def failing_tests(place: str) -> Iterator[str]:
    """Run the tests of a file, or those that an expression after " -k " chooses, to the first that
    fails.

    Where the tests or pytest are not here, or no test ran, nothing is yielded: a fault then counts
    as missed.
    """
    if not file_of(place).is_file() or importlib.util.find_spec("pytest") is None:
        return
    import pytest

    listener, options = _Listener(), ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            pytest.main([*shlex.split(place), *options], plugins=[listener])
    finally:
        os.chdir(before)
    if listener.failed:
        yield listener.failed
