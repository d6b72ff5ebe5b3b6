"""Exact attention under every mask is what the words of `attention` say, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from masked_attention import Masked, gradient, masked_problems, output, visible

import approxattn as aa
from approxattn.softmax import numpy_streaming, streaming
from approxattn.softmax.scores import masked_scores

EXACT = aa.Exact()


def check(problem: Masked) -> None:
    """Hold output and gradient against the formula, and errors against their bounds."""
    q, k, v, see = problem.q, problem.k, problem.v, problem.see
    out = aa.attention(q, k, v, EXACT, **problem.options)
    errors = np.abs(out.value - output(q, k, v, see, problem.scale, problem.bias)).max(-1)
    assert np.all(errors <= out.certificate.rows)
    assert np.all(out.certificate.rows < 1e-12 * (1 + np.abs(v).max()))
    blind = ~see.any(-1)
    assert np.all(out.value[blind] == 0)
    assert np.all(out.certificate.rows[blind] == 0)
    g = np.random.default_rng(1).normal(size=out.value.shape)
    found = aa.attention_vjp(q, k, v, g, EXACT, **problem.options)
    for name, want in zip(
        ("dq", "dk", "dv"), gradient(q, k, v, g, see, problem.scale, problem.bias), strict=True
    ):
        gap = np.abs(getattr(found, name) - want).max(-1)
        assert np.all(gap <= getattr(found.certificate, name)), name
    assert np.all(found.dq[blind] == 0)
    unseen = ~see.any(-2)
    assert np.all(found.dk[unseen] == 0)
    assert np.all(found.dv[unseen] == 0)
    if "bias" not in problem.options:
        assert np.all(found.certificate.dv[unseen] == 0)


@settings(max_examples=80)
@given(masked_problems())
def test_it_is_what_the_words_say(problem: Masked) -> None:
    check(problem)


@settings(max_examples=60)
@given(masked_problems())
def test_it_is_with_blocks_of_three_keys(problem: Masked) -> None:
    """Bands and causal order meet the ends of blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "KEY_BLOCK", 3)
        patch.setattr("approxattn.softmax.scores.SCORES_AT_ONCE", 12)
        check(problem)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("seed", range(20))
def test_narrow_numbers_stay_within_their_bounds(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    q, k, v = (rng.normal(size=(2, n, 4)).astype(dtype) for n in (7, 9, 9))
    options = {
        "causal": bool(seed % 2),
        "query_offset": int(rng.integers(-3, 4)),
        "window": (3, None) if seed % 3 else (1, 1),
        "key_mask": rng.random((2, 9)) < 0.7,
        "empty_rows": "zero",
    }
    out = aa.attention(q, k, v, EXACT, **options)
    want = output(q, k, v, visible(7, 9, (2,), options), 0.5)
    assert out.value.dtype == dtype
    assert np.all(np.abs(out.value - want).max(-1) <= out.certificate.rows)


@pytest.mark.parametrize("seed", range(10))
def test_a_bias_counts_with_its_size_and_its_rounding(seed: int) -> None:
    """Tokens of 0: all that rounds is the bias, to float32, and the exponents that it makes."""
    rng = np.random.default_rng(seed)
    zeros, v = np.zeros((40, 2), np.float32), rng.normal(size=(40, 3)).astype(np.float32)
    bias = 50_000 + rng.normal(size=(40, 40))
    out = aa.attention(zeros, zeros, v, EXACT, bias=bias)
    errors = np.abs(out.value - output(zeros, zeros, v, np.True_, 1.0, bias)).max(-1)
    assert np.all(errors <= out.certificate.rows)
    assert errors.max() > 2e-3 * out.certificate.rows.max()


def test_a_window_costs_what_it_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of keys outside a window are never formed."""
    monkeypatch.setattr(streaming, "KEY_BLOCK", 16)
    monkeypatch.setattr("approxattn.softmax.scores.SCORES_AT_ONCE", 16 * 16)
    asked = []
    before = masked_scores

    def count(problem, q, first, start, end):
        asked.append(q[..., 0].size * (end - start))
        return before(problem, q, first, start, end)

    monkeypatch.setattr(streaming, "masked_scores", count)
    q, k, v = np.random.default_rng(0).normal(size=(3, 512, 4))
    aa.attention(q, k, v, EXACT, causal=True, window=(15, 0))
    assert sum(asked) <= 512 * 3 * 16


def test_segments_cost_what_they_see(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    whole = numpy_streaming.attend

    def count(problem, key_block):
        asked.append(problem.q[..., 0].size * problem.n_k)
        return whole(problem, key_block)

    monkeypatch.setattr(numpy_streaming, "attend", count)
    q, k, v = np.random.default_rng(0).normal(size=(3, 512, 4))
    aa.attention(q, k, v, EXACT, segments=np.arange(512) // 32)
    assert sum(asked) == 512 * 32
