"""Long work says to the log how long it takes and how far it is, and prints nothing unasked."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import numpy as np
import pytest

import approxattn as aa
from approxattn.__main__ import main
from approxattn._problem import progress, time_needed

TOKENS = np.random.default_rng(0).normal(size=(3, 2, 600, 4))


class Clock:
    """Every look at it takes so many seconds."""

    def __init__(self, tick: float) -> None:
        self.now, self.tick = 0.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch):
    """Return what lets work take long, by the clock and by its estimate."""

    def begin(tick: float, score: float = time_needed.SCORE) -> Clock:
        clock = Clock(tick)
        monkeypatch.setattr(progress, "clock", clock)
        monkeypatch.setattr(time_needed, "SCORE", score)
        return clock

    return begin


def calls(library=np):
    q, k, v = (library.asarray(x) for x in TOKENS)
    rng = np.random.default_rng(0)
    return {
        "exact attention of 600 queries and 600 keys": [
            lambda: aa.attention(q, k, v, aa.Exact()),
            lambda: aa.attention(q, k, v, aa.Exact(), softcap=3.0),
            lambda: aa.attention(q, k, v, aa.Exact(), return_lse=True),
            lambda: aa.attention_vjp(q, k, v, v, aa.Exact()),
        ],
        "audit of 600 rows of 600 keys": [lambda: aa.audit(v, q, k, v, rows=600, rng=rng)],
        "scores of 1200 rows with 600 keys": [lambda: aa.diagnose(q, k, v)],
    }


@pytest.mark.parametrize("name", calls())
def test_it_is_announced_and_followed(name: str, slow, caplog, monkeypatch) -> None:
    """The estimate comes first, shares grow, the end is told."""
    for module in ("softmax.scores", "softmax.rows"):  # row blocks small enough for several steps
        monkeypatch.setattr(sys.modules[f"approxattn.{module}"], "SCORES_AT_ONCE", 2**16)
    for call in calls()[name]:
        caplog.clear()
        slow(30.0, score=1e-3)
        with caplog.at_level(logging.INFO, logger="approxattn"):
            call()
        told = [m for m in caplog.messages if m.startswith(name)]
        assert "about" in told[0]
        assert told[0].endswith("of one core")
        assert told[-1].startswith(f"{name}: done in")
        shares = [int(m.split(": ")[1].split(" %")[0]) for m in told[1:-1]]
        assert shares
        assert shares == sorted(shares)
        assert all(0 < share <= 100 for share in shares)


def test_a_comparison_of_methods_is_told(slow, caplog) -> None:
    slow(40.0)
    q, k, v = TOKENS[..., :64, :]
    with caplog.at_level(logging.INFO, logger="approxattn"):
        aa.diagnose(q, k, v, compare_methods=True)
    told = [m for m in caplog.messages if m.startswith("comparison of")]
    assert "methods on 2 leading indices" in told[0]
    assert told[-1].split(": ")[1].startswith("done in")


def test_short_work_says_nothing(slow, caplog) -> None:
    slow(0.001)
    with caplog.at_level(logging.INFO, logger="approxattn"):
        for group in calls().values():
            for call in group:
                call()
    assert not caplog.messages


def test_work_that_takes_longer_than_foreseen_speaks_after_a_minute(slow, caplog) -> None:
    clock = slow(0.0)
    with caplog.at_level(logging.INFO, logger="approxattn"):
        work = progress.Work("a surprise", 1.0, 100)
        for passed in range(5, 100, 5):
            clock.now = float(passed)
            work.add(4)
        work.finish()
    assert caplog.messages[0] == "a surprise: 48 % done, about 1.1 minutes left"
    assert len(caplog.messages) == 5
    assert caplog.messages[-1] == "a surprise: done in 1.6 minutes"


def test_messages_grow_rarer(slow, caplog) -> None:
    clock = slow(0.0)
    with caplog.at_level(logging.INFO, logger="approxattn"):
        work = progress.Work("a day", 86400.0, 8640)
        for passed in range(10, 86400, 10):
            clock.now = float(passed)
            work.add(1)
    assert 100 < len(caplog.messages) < 400


@pytest.mark.parametrize("terminal", [True, False])
def test_commands_show_it_on_terminals_only(
    terminal: bool, slow, tmp_path: Path, monkeypatch, capsys
) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    path, shown = tmp_path / "heads.npz", Stream()
    np.savez(path, q=TOKENS[0], k=TOKENS[1], v=TOKENS[2])
    slow(30.0, score=1e-3)
    monkeypatch.setattr(sys, "stderr", shown)
    before = logging.getLogger("approxattn").handlers[:]
    assert main(["diagnose", "--quick", str(path)]) == 0
    assert ("approxattn: scores of 1200 rows" in shown.getvalue()) == terminal
    assert "Attention with items 2" in capsys.readouterr().out
    assert logging.getLogger("approxattn").handlers == before
    assert not logging.getLogger("approxattn").isEnabledFor(logging.INFO)


def test_nothing_is_printed_unasked(slow, capfd) -> None:
    slow(30.0, score=1e-3)
    q, k, v = TOKENS
    aa.attention(q, k, v, aa.Exact())
    assert capfd.readouterr() == ("", "")
