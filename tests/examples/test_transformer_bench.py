"""What benchmarks/transformer.py reports, at a small size: everything but the times."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import transformer as bench  # type: ignore[import-not-found]

from approxattn.transformer import gradient


def test_operations_equal_the_formula() -> None:
    (row,) = bench.operations([4096])
    assert row["counted"] == row["formula"] > 0


def test_the_exponent_tends_to_one_and_is_not_seen() -> None:
    found = bench.regime()
    assert found["limit"] == "1"
    logs, at = found["log2 n"], found["exponents"][bench.DEGREE]
    assert all(a > b > 1 for a, b in pairwise(at))
    assert at[logs.index(20)] > 2  # at the longest sequences it looks worse than quadratic


def test_memory_of_one_more_token() -> None:
    """Beyond scratch space of fixed size, the gradient takes at most 1.5 times the activations."""
    low, high = 4096, 8192
    kept = (bench.activations(high) - bench.activations(low)) / (high - low)
    peak = (bench.traced(bench.task(high))[1] - bench.traced(bench.task(low))[1]) / (high - low)
    assert kept > 4 * 8 * bench.D * 4  # four layers, some eight float32 arrays each
    assert kept < peak < bench.MEMORY * kept


def test_slope() -> None:
    fit = bench.slope([1, 2, 4, 8], [3.0, 6.0, 12.0, 24.0])
    assert fit["slope"] == pytest.approx(1)
    assert fit["high"] - fit["low"] < 1e-12
    noisy = bench.slope([1, 2, 4, 8], [3.0, 9.0, 10.0, 30.0])
    assert noisy["low"] < noisy["slope"] < noisy["high"]


def test_the_same_network_in_torch() -> None:
    torch = pytest.importorskip("torch")
    import approxattn as aa

    (x, g), net = bench.tokens(64), bench.model(2)
    own, theirs = gradient(net, x, g, aa.Exact(), certify=False), bench.in_torch(net, x, g, torch)
    assert own.dx is not None
    assert abs(own.dx - theirs["x"]).max() < 1e-5


def test_figure(tmp_path: Path) -> None:
    bench.figure(bench.regime(), tmp_path / "regime.svg")
    assert "<svg" in (tmp_path / "regime.svg").read_text(encoding="utf-8")
    json.dumps(bench.regime())
