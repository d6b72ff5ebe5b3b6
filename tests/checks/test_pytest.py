"""Checks as tests: parameters, strict expected failures, and the suite for an installed package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
from attentions import always_raises, off_by_one, right
from floors import ROOT

from approxattn.testing import (
    Attention,
    NoOutputError,
    attention_checks,
    check_attention,
)
from approxattn.testing.command_line import expected_failures

FEW = (1, 2, 3, 5)


def test_checks_have_names_and_say_what_is_wrong() -> None:
    checks = dict(attention_checks(Attention(off_by_one, sizes=FEW)))
    assert len(checks) > 30
    with pytest.raises(AssertionError, match=r"causal: row 0 differs by .* \(Gaussian, n = 2; "):
        checks["causal"](Attention(off_by_one, sizes=FEW))
    with pytest.raises(SkipTest, match="no such form"):
        checks["masked keys"](Attention(off_by_one, sizes=FEW))
    with pytest.raises(NoOutputError, match="ValueError: not today") as caught:
        checks["repeatable"](Attention(always_raises, sizes=FEW))
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.__cause__.__traceback__ is not None


def test_expected_failures_are_strict_and_never_exceptions() -> None:
    def found(function: Any, **reasons: str) -> Any:
        named = {name.replace("_", " "): reason for name, reason in reasons.items()}
        return check_attention(Attention(function, sizes=FEW, expected_failures=named))

    assert not found(right, repeatable="so it is said").ok
    reason = "one too many"
    told = found(off_by_one, causal=reason, later_keys=reason, causal_agrees_with_softmax=reason)
    assert told.ok
    assert told["causal"].detail.startswith("expected, one too many: row 0 differs")
    assert found(always_raises, repeatable="it raises")["repeatable"].held is False


def test_an_expected_failure_that_no_check_has_is_told_with_near_ones() -> None:
    wrong = Attention(right, expected_failures={"order of kays": "typing"})
    for use in (attention_checks, check_attention):
        with pytest.raises(ValueError, match=r"'order of kays'.*did you mean 'order of keys'"):
            use(wrong)


MARKED = """
from approxattn.testing import Attention, parametrize_with_checks
from attentions import always_raises, off_by_one, right

late = dict.fromkeys(["causal", "causal agrees with softmax", "later keys"], "off by one")

@parametrize_with_checks([
    Attention(right, sizes=(1, 2, 5)),
    Attention(off_by_one, sizes=(1, 2, 5), expected_failures=late),
])
def test_good(attention, check):
    check(attention)

@parametrize_with_checks([
    Attention(right, name="held", sizes=(2,), expected_failures={"repeatable": "no"}),
    Attention(always_raises, name="raised", sizes=(2,), expected_failures={"repeatable": "no"}),
])
def test_bad(attention, check):
    check(attention)
"""

MODULE = """
import attentions
from attentions import gradient, right, transposed

blind = attentions.blind(64)

class Layer:
    @staticmethod
    def forward(q, k, v):
        if q.ndim != 4 or q.shape[-2] % 32 or k.shape[-2] % 32:
            raise ValueError("(batch, heads, 32 m, d)")
        return right(q, k, v)

NOTHING = 3
"""


def pytest_of(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder outside of the repository."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'support'}"}
    command = [sys.executable, "-m", *arguments, "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_checks_are_parameters_and_expected_failures_strict(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(MARKED, encoding="utf-8")
    only = ("-k", "test_good or repeatable", "-rf", "--tb=line")
    done = pytest_of(tmp_path, "pytest", *only)
    assert done.returncode == 1, done.stdout
    counts = ("2 failed", "53 passed", "20 skipped", "3 xfailed")
    assert all(count in done.stdout.splitlines()[-1] for count in counts)
    assert "[held-repeatable] - [XPASS(strict)] no" in done.stdout
    assert "NoOutputError: repeatable: ValueError: not today" in done.stdout


def test_the_suite_runs_outside_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "xfails").write_text("# none of keys from 64 on\nNaN does not disappear: blind\n")
    module = ("approxattn.testing", "--attention-sizes", "1,2,65")
    good = pytest_of(
        tmp_path, *module, "--attention", "mine:right", "--attention-gradient", "mine:gradient"
    )
    assert good.returncode == 0, good.stdout
    assert good.stdout.splitlines()[-1].startswith("33 passed, 5 skipped")
    by_hand = ("pytest", "-p", "approxattn.testing.plugin", "--pyargs", "approxattn.testing.suite")
    bad = pytest_of(
        tmp_path, *by_hand, "--attention", "mine:blind", "--attention-sizes", "1,65", "--tb=line"
    )
    assert bad.returncode == 1, bad.stdout
    assert "mine:blind-order_of_keys" in bad.stdout
    layer = ("--attention", "mine:Layer.forward", "--attention-leading", "2")
    options = ("--attention-multiple-of", "32", "--attention-sizes", "32,64")
    shaped = pytest_of(tmp_path, "approxattn.testing", *layer, *options)
    assert shaped.returncode == 0, shaped.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--attention", "mine"), "must read PACKAGE:FUNCTION"),
        (("--attention", "mine:nothing"), "mine:nothing cannot be imported"),
        (("--attention", "no_such_module:f"), "No module named"),
        (("--attention", "mine:NOTHING"), "is no function but int"),
        (("--attention", "mine:right", "--attention-sizes", "1,x"), "whole numbers"),
        (("--attention", "mine:right", "--attention-xfails", "wrong"), "line 2 must read"),
        (("--attention", "mine:right", "--attention-xfails", "unknown"), "did you mean 'causal'"),
        (("--attention", "mine:right", "--attention-gradient", "autograd"), "framework='torch'"),
        ((), "--attention PACKAGE:FUNCTION is missing"),
    ],
)
def test_misuse_is_one_line(
    arguments: tuple[str, ...],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a run of pytest inside this one."""
    (tmp_path / "mine.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "wrong").write_text("causal: late\nno reason\n", encoding="utf-8")
    (tmp_path / "unknown").write_text("causall: late\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    suite = ("-p", "approxattn.testing.plugin", "--pyargs", "approxattn.testing.suite")
    status = pytest.main([*suite, *arguments, "-q", "-p", "no:cacheprovider"])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    told = capsys.readouterr()
    assert int(status) in (2, 4)
    assert complaint in told.out + told.err
    assert "Traceback" not in told.out + told.err


def test_a_file_of_expected_failures(tmp_path: Path) -> None:
    file = tmp_path / "xfails"
    file.write_text("# said\n\n causal : late: by one\nlater keys: late\n", encoding="utf-8")
    assert expected_failures(file) == {"causal": "late: by one", "later keys": "late"}
    file.write_text("causal: late\ncausal: again\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 2 names a check again"):
        expected_failures(file)
