"""Sparse attention of other groups: exact where everything is read, right in the mean where chance
decides, and counted.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from real_model.rivals import BLOCK, Blocks, Delta, Oracle, Rival, Window
from real_model.sampling_rivals import HashSampling, Hyper, Verified
from real_model.swaps import exact_multiply_adds

import approxattn as aa

N, D = 300, 16
FULL = {
    "everything": Rival(),
    "window": Window(back=N),
    "delta": Delta(back=N),
    "blocks": Blocks(kept=N),
    "blocks, rest": Blocks(kept=N, rest=True),
    "boxes": Blocks(kept=N, by="box"),
    "oracle": Oracle(top=N),
    "sorted blocks": Hyper(size=N, sample=7, least=64),
    "short for halving": Hyper(size=4, sample=7, least=N),
    "hashed": HashSampling(back=N, bits=3, tables=5),
    "verified": Verified(within=0.1, failure=0.1, top=1.0),
}
PARTIAL = {
    "window": Window(back=40),
    "delta": Delta(back=40),
    "blocks": Blocks(kept=2),
    "blocks, rest": Blocks(kept=2, rest=True),
    "boxes": Blocks(kept=2, by="box"),
    "oracle": Oracle(top=20),
    "sorted blocks": Hyper(size=16, sample=16, least=64),
    "hashed": HashSampling(bits=4, tables=8),
    "verified": Verified(within=0.3, failure=0.3, sinks=4, back=31),
}


def heads(spread: float = 2.0):
    q, k, v = np.random.default_rng(3).standard_normal((3, N, D)).astype(np.float32)
    return spread * q[None], k, v


@pytest.mark.parametrize("name", FULL)
def test_everything_read_is_exact_attention(name: str) -> None:
    q, k, v = heads()
    out, count = FULL[name](q, k, v, np.random.default_rng(0))
    wanted = aa.attention(q, k, v, aa.Exact(), causal=True).value
    np.testing.assert_allclose(out, wanted, atol=2e-5)
    assert count >= 0.99 * exact_multiply_adds(N, D)


@pytest.mark.parametrize("name", PARTIAL)
def test_part_is_cheaper_and_better_than_nothing(name: str) -> None:
    q, k, v = heads()
    rule = PARTIAL[name]
    out, count = rule(q, k, v, np.random.default_rng(0))
    wanted = aa.attention(q, k, v, aa.Exact(), causal=True).value
    error = np.linalg.norm(out - wanted) / np.linalg.norm(wanted)
    assert 1e-3 < error < (2 if name == "delta" else 1.1)
    pairs = (count - rule.selection(N, D)) / exact_multiply_adds(N, D)
    assert 0.02 < pairs < 0.95


@pytest.mark.parametrize("name", ["sorted blocks", "hashed", "verified"])
def test_weights_of_chance_are_right_in_the_mean(name: str) -> None:
    """The mean of e^bias over draws is 1 for each pair, up to the noise of 600 draws."""
    q, k, _ = heads(0.5)
    rule, rng, first = PARTIAL[name], np.random.default_rng(1), 3 * BLOCK
    scores = q[0, first : first + 8] @ k[: first + 8].T / np.sqrt(D)
    scores[:, : first + 8][np.arange(first + 8) > first + np.arange(8)[:, None]] = -np.inf
    total, square, draws = np.zeros(scores.shape), np.zeros(scores.shape), 600
    for _ in range(draws):
        weight = np.exp(rule.bias(scores, first, rule.prepare(q[0], k, rng), rng))
        total, square = total + weight, square + weight**2
    mean = total / draws
    noise = np.sqrt(np.maximum(square / draws - mean**2, 0) / draws)
    seen = np.isfinite(scores)
    assert (noise[seen] > 0).mean() > 0.2  # chance decides something
    assert np.abs((mean - 1)[seen].mean()) < 0.02
    off = np.abs(mean - 1) > 5.5 * noise + 1e-9
    assert (off & seen & (noise > 0)).mean() < 0.02


def test_a_summary_stands_for_what_it_summarises() -> None:
    """Equal keys and values: their mean, counted as often as there are keys, is exact."""
    q, k, v = heads()
    k, v = (np.repeat(x[::32][: N // 32 + 1], 32, axis=0)[:N] for x in (k, v))
    out, _ = Blocks(kept=1, rest=True)(q, k, v, np.random.default_rng(0))
    wanted = aa.attention(q, k, v, aa.Exact(), causal=True).value
    np.testing.assert_allclose(out, wanted, atol=2e-5)


def test_the_oracle_takes_the_largest_weights() -> None:
    q, k, v = heads()
    scores = (q[0] @ k.T / np.sqrt(D)).astype(np.float64)
    scores[np.arange(N) > np.arange(N)[:, None]] = -np.inf
    kept = np.where(scores >= -np.sort(-scores, axis=1)[:, 9:10], scores, -np.inf)
    weights = np.exp(kept - kept.max(axis=1, keepdims=True))
    wanted = weights @ v / weights.sum(axis=1, keepdims=True)
    out, count = Oracle(top=10)(q, k, v, np.random.default_rng(0))
    np.testing.assert_allclose(out[0], wanted, atol=2e-5)
    assert count == pytest.approx(2 * D * sum(min(10, i + 1) for i in range(N)))


def test_delta_is_exact_where_it_looks() -> None:
    q, k, v = heads()
    out, _ = Delta(back=10)(q, k, v, np.random.default_rng(0))
    wanted = np.asarray(aa.attention(q, k, v, aa.Exact(), causal=True).value)
    np.testing.assert_allclose(out[0, ::BLOCK], wanted[0, ::BLOCK], atol=2e-5)
