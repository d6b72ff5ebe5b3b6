"""Selected keys and summaries while keys go by: however queries and keys are cut, what they are in
memory.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from dense_attention import output, row_errors, tokens

import approxattn as aa
from approxattn import distributed
from approxattn.methods.selected_keys import layout
from approxattn.methods.selected_keys.chunk_keys import Choice
from approxattn.methods.selected_keys.layout import Chunk, chunks
from approxattn.methods.selected_keys.sharding import far
from approxattn.sharding import tasks


def some(low: int, high: int, rng: np.random.Generator) -> int:
    return int(rng.integers(low, high))


@pytest.mark.parametrize("seed", range(40))
def test_any_cut_gives_what_memory_gives(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, causal = np.random.default_rng(seed), bool(seed % 2)
    monkeypatch.setattr(tasks, "PIECE", some(1, 200, rng))
    monkeypatch.setattr(far, "AT_ONCE", some(1, 3000, rng))
    monkeypatch.setattr(layout, "BLOCKS_AT_ONCE", (1, 3, 64)[seed % 3])
    n_q, d, dv = some(1, 300, rng), some(1, 6, rng), some(1, 5, rng)
    n_k = n_q if causal or seed % 4 else some(1, 300, rng)
    heavy, recent, summaries, sinks, block = (some(*x, rng) for x in ((0, 9),) * 3 + ((1, 9),) * 2)
    method = aa.SelectedSummaries(
        heavy=heavy, recent=recent, summaries=summaries, sinks=sinks, block=block
    )
    q, k, v = (rng.standard_normal(s) for s in ((n_q, d), (n_k, d), (n_k, dv)))
    want = aa.attention(q, k, v, method, causal=causal)
    found = distributed.attention(q, k, v, method, causal=causal, shard=block * some(1, 60, rng))
    assert found.value == pytest.approx(want.value, rel=1e-11, abs=1e-11)
    rows, others = found.certificate.rows, want.certificate.rows
    assert (rows <= others * (1 + 1e-6) + 1e-9).all()
    assert (row_errors(found.value, output(q, k, v, causal=causal)) <= rows).all()


def test_heavy_keys_are_the_largest_and_every_other_key_is_in_one_sum() -> None:
    """With equal scores too, and with keys that grow, so that each run pushes out the last."""
    rng, choice = np.random.default_rng(0), Choice(heavy=5, summaries=3, sinks=2)
    n, mean = 90, rng.standard_normal((4, 2))
    one = Chunk(first=0, count=4, rows=5, start=30, width=8, causal=False, far=n)
    for grow in (0.0, 0.2):
        kv = rng.integers(-2, 3, (n, 3)) * (1 + grow * np.arange(n)[:, None])
        found = far.Far([one], mean, choice, 3)
        for first in range(0, n, 7):
            found.add(first, kv[first : first + 7])
        scores = mean @ kv[:, :2].T
        for i in range(4):
            away = [j for j in range(2, n) if not 30 + 5 * i <= j < 38 + 5 * i]
            heavy = found.place[i]
            assert len(set(heavy)) == 5
            assert set(heavy) <= set(away)
            assert sorted(scores[i, heavy]) == sorted(scores[i, away])[-5:]
            assert (found.tokens[i] == kv[heavy]).all()
            for p, (start, stop) in enumerate(one.pieces(3)):
                own = [j for j in away if start <= j < stop and j not in heavy]
                weights = np.exp(scores[i, own] - found.top[i, p])
                assert found.mass[i, p] == pytest.approx(weights.sum())
                assert found.sums[i, p] == pytest.approx(weights @ kv[own])
                assert found.top[i, p] == scores[i, own].max()


@pytest.mark.parametrize("causal", [False, True])
def test_chunks_from_any_query_on(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        monkeypatch.setattr(layout, "BLOCKS_AT_ONCE", some(1, 6, rng))
        n, more = some(1, 120, rng), some(0, 2, rng) * some(1, 30, rng)
        counts = SimpleNamespace(n_q=n, n_k=n + more, causal=causal, earlier=more * causal)
        cut = some(1, 10, rng), some(0, 13, rng)
        holding, whole = some(0, n, rng), list(chunks(counts, *cut))
        found = list(chunks(counts, *cut, holding))
        assert found == whole[-len(found) :]
        assert found[0].first <= holding


def test_blocks_that_cut_through_a_block_of_queries_are_refused() -> None:
    q, k, v = tokens(3, (40, 2), 2, 1.0, "f8")
    method = aa.SelectedSummaries(heavy=1, recent=2, summaries=2, block=8)
    with pytest.raises(ValueError, match=r"q is cut at token 12, .* takes 8 tokens .* multiples"):
        distributed.attention(q, k, v, method, shard=12)
    da = pytest.importorskip("dask.array")
    from approxattn.dask import attention

    lazy = [da.from_array(x, chunks=(20, 2)) for x in (q, k, v)]
    with pytest.raises(ValueError, match="q is cut at token 20"):
        attention(*lazy, method)
    lazy[0] = lazy[0].rechunk((16, 2))
    found = attention(*lazy, method)
    want = distributed.attention(q, k, v, method, shard=16)
    # other blocks of keys, other sums
    assert found.value.compute(scheduler="threads") == pytest.approx(want.value, rel=1e-12)


def test_gradients_are_refused() -> None:
    q, k, v, g = tokens(4, (40, 2), 3, 1.0, "f8")
    with pytest.raises(TypeError, match="the gradient of SelectedSummaries cannot"):
        distributed.attention_vjp(q, k, v, g, aa.SelectedSummaries(heavy=1, block=8))
