"""A bias given as a function of positions is the bias given as an array, and no array of all pairs
is made.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_attention import EXTENDED, Masked, gradient, masked_problems, output, weights

import approxattn as aa
from approxattn._problem import positions
from approxattn.softmax import scores, streaming

EXACT = aa.Exact()


class Table:
    """The bias of an array, looked up by positions; remembers what it was asked for."""

    def __init__(self, array, offset: int) -> None:
        self.array, self.offset = array, offset
        self.asked: list[int] = []

    def __call__(self, rows, columns):
        self.asked.append(rows.size * columns.size)
        return self.array[..., rows - self.offset, columns]


@st.composite
def biased(draw):
    """Return a masked problem and the same with a function in the place of its bias."""
    problem = draw(masked_problems())
    batch, n_q, n_k = problem.batch, problem.q.shape[-2], problem.k.shape[-2]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lead = draw(st.sampled_from([(), batch, batch[-1:]]))
    size = draw(st.sampled_from([1.0, 30.0]))
    gone = rng.random((*lead, n_q, n_k)) < draw(st.sampled_from([0.0, 0.3]))
    array = np.where(gone, -np.inf, size * rng.normal(size=(*lead, n_q, n_k)))
    options = {**problem.options, "bias": array}
    ordered = "causal" in options or options.get("window", (None, None)) != (None, None)
    offset = options.get("query_offset") if ordered else draw(st.integers(-2, 3))
    table = Table(array, offset or 0)
    named = {**options, "query_offset": offset, "bias": table}
    return Masked(q=problem.q, k=problem.k, v=problem.v, options=options), named


@settings(max_examples=80)
@given(biased())
def test_it_is_the_array_of_its_numbers(case) -> None:
    problem, named = case
    tokens = problem.q, problem.k, problem.v
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "KEY_BLOCK", 3)
        patch.setattr(positions, "KEYS_AT_ONCE", 5)
        patch.setattr(positions, "PAIRS_AT_ONCE", 12)
        patch.setattr(scores, "SCORES_AT_ONCE", 12)
        found = aa.attention(*tokens, EXACT, **named)
        want = aa.attention(*tokens, EXACT, **problem.options)
        np.testing.assert_array_equal(found.value, want.value)
        assert np.all(want.certificate.rows <= found.certificate.rows)
        exact = output(*tokens, problem.see, problem.scale, problem.bias)
        assert np.all(np.abs(found.value - exact).max(-1) <= found.certificate.rows)
        g = np.random.default_rng(1).normal(size=found.value.shape)
        grads = aa.attention_vjp(*tokens, g, EXACT, **named)
        exact = gradient(*tokens, g, problem.see, problem.scale, problem.bias)
        for name, true in zip(("dq", "dk", "dv"), exact, strict=True):
            gap = np.abs(getattr(grads, name) - true).max(-1)
            assert np.all(gap <= getattr(grads.certificate, name)), name


@settings(max_examples=40)
@given(biased())
def test_audit_recomputes_it(case) -> None:
    problem, named = case
    tokens = problem.q, problem.k, problem.v
    value = output(*tokens, problem.see, problem.scale, problem.bias).astype(float) + 0.25
    report = aa.audit(value, *tokens, rows=10**6, rng=np.random.default_rng(0), **named)
    np.testing.assert_allclose(report.errors, 0.25, atol=1e-9)


def test_audit_of_some_rows_asks_for_the_bias_of_these() -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 2, 40, 4))
    table = Table(3 * rng.normal(size=(2, 40, 40)), 0)
    value = output(q, k, v, np.True_, 0.5, table.array).astype(float)
    report = aa.audit(value, q, k, v, rows=7, rng=rng, bias=table)
    assert report.errors.size == 7
    assert report.largest < 1e-9


def far(n_q: int, n_k: int, offset: int = 0):
    return np.abs(np.arange(n_q)[:, None] + offset - np.arange(n_k)).astype(EXTENDED)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("size", [1e-6, 0.3, 300.0, 3e4])
@pytest.mark.parametrize("offset", [0, 3, -2])
def test_alibi_counts_its_rounding(dtype, size: float, offset: int) -> None:
    """Tokens near 0: what errs is the bias, against slopes of more digits than the dtype has."""
    rng = np.random.default_rng(0)
    q, k, v = (
        (s * rng.normal(size=(2, n, 4))).astype(dtype) for n, s in ((9, 0.1), *[(12, 1)] * 2)
    )
    slopes = size * np.array([1 / 3, -1 / 7])
    bias = aa.ALiBi(slopes)
    options = {"query_offset": offset, "bias": bias}
    out = aa.attention(q, k, v, EXACT, **options)
    exact = output(
        q, k, v, np.True_, 0.5, -slopes.astype(EXTENDED)[:, None, None] * far(9, 12, offset)
    )
    assert np.all(np.abs(out.value - exact).max(-1) <= out.certificate.rows)
    report = aa.audit(out.value, q, k, v, rows=99, rng=rng, **options)
    errors = np.abs(out.value - exact).max(-1).reshape(-1)
    assert np.all(report.errors >= errors)


def test_alibi_rounds_most_at_far_positions() -> None:
    """Biases of 333,333 and differences of 1/3: what float32 makes of it is seen, and bounded."""
    rng = np.random.default_rng(0)
    zeros, v = np.zeros((40, 2), np.float32), rng.normal(size=(40, 3)).astype(np.float32)
    slope = np.array(1 / 3)
    options = {"query_offset": 10**6, "bias": aa.ALiBi(slope)}
    exact = output(zeros, zeros, v, np.True_, 1.0, -EXTENDED(slope) * far(40, 40, 10**6))
    out = aa.attention(zeros, zeros, v, EXACT, **options)
    errors = np.abs(out.value - exact).max(-1)
    assert np.all(errors <= out.certificate.rows)
    assert errors.max() > 2e-3 * out.certificate.rows.max()


@pytest.mark.parametrize("method", [aa.Polynomial(degree=2), aa.Yoso(hashes=2)])
def test_other_methods_say_why_not(method) -> None:
    x = np.ones((4, 2))
    with pytest.raises(ValueError, match=r"bias with .*Exact"):
        aa.attention(x, x, x, method, bias=aa.ALiBi(np.array(1.0)), rng=np.random.default_rng(0))


def test_no_block_is_larger_than_scores_are(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 1500
    q, k, v = np.random.default_rng(0).normal(size=(3, n, 2))
    table = Table(np.zeros((n, n)), 0)
    monkeypatch.setattr(scores, "SCORES_AT_ONCE", 2**16)
    monkeypatch.setattr(positions, "PAIRS_AT_ONCE", 2**16)
    aa.attention(q, k, v, EXACT, causal=True, bias=table)
    assert max(table.asked) <= 2**16
    assert sum(table.asked) < 2.2 * n * n


@pytest.mark.parametrize(
    ("heads", "slopes"),
    [
        (1, [2.0**-8]),
        (4, [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8]),
        (3, [2.0**-4, 2.0**-8, 2.0**-2]),
    ],
)
def test_slopes_of_the_paper(heads: int, slopes: list[float]) -> None:
    np.testing.assert_allclose(aa.ALiBi.of_heads(heads).slopes, slopes)


@pytest.mark.parametrize("offset", [-30, -3, 0, 4, 50])
def test_alibi_knows_its_largest(offset: int) -> None:
    bias, rows = aa.ALiBi(np.array([0.3, -0.1])), np.arange(9) + offset
    block = np.abs(bias(rows[:, None], np.arange(12)[None, :]))
    largest = bias.largest(rows, 12)
    assert np.all(block.max(-1) <= largest)
    np.testing.assert_allclose(largest, block.max(-1))


def test_positions_are_those_of_a_cache() -> None:
    q, k, v = np.random.default_rng(0).normal(size=(3, 2, 10, 4))
    options = {"causal": True, "bias": aa.ALiBi.of_heads(2)}
    whole = aa.attention(q, k, v, EXACT, **options).value
    new = aa.attention(q[:, 8:], k, v, EXACT, query_offset=8, **options).value
    np.testing.assert_allclose(new, whole[:, 8:], atol=1e-15)


REFUSED = [
    (lambda i, j: 0 * (i - j), TypeError, ["what the bias function returns has dtype int64"]),
    (lambda *_: 0.0, TypeError, ["what the bias function returns is a float"]),
    (lambda *_: np.zeros((7, 7)), ValueError, ["returns has shape (7, 7)", "(2, 5, 5)"]),
    (lambda i, j: np.log(0.0 * (i - j)) * 0, ValueError, ["returns reaches inf"]),
    (lambda i, j: np.where(i == 2, -np.inf, 0.0 * j), ValueError, ["query [2]", "empty_rows"]),
    (aa.ALiBi(np.ones(3)), ValueError, ["slopes of ALiBi have shape (3,)", "(2,)"]),
    (aa.ALiBi(np.array(1e308)), ValueError, ["bias of ALiBi reaches", "lower the slopes"]),
]


@pytest.mark.parametrize(("bias", "error", "words"), REFUSED)
def test_refusals_name_what_came_back(bias, error, words) -> None:
    q = np.random.default_rng(0).normal(size=(2, 5, 3))
    with pytest.raises(error) as caught:
        aa.attention(q, q, q, EXACT, bias=bias)
    for word in words:
        assert word in str(caught.value)


def test_fewer_queries_than_keys_must_say_where_they_stand() -> None:
    q, k = np.ones((2, 3)), np.ones((5, 3))
    with pytest.raises(ValueError, match=r"a bias of positions with 2 queries.*query_offset=3"):
        aa.attention(q, k, k, EXACT, bias=aa.ALiBi(np.array(1.0)))


@pytest.mark.parametrize(
    ("slopes", "error"), [(np.array([1]), TypeError), (np.array([np.nan]), ValueError)]
)
def test_slopes_are_finite_floats(slopes, error) -> None:
    with pytest.raises(error, match="slopes"):
        aa.ALiBi(slopes)
    with pytest.raises(TypeError, match="heads"):
        aa.ALiBi.of_heads(2.5)


def test_torch_gets_the_gradient_of_its_tokens() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    q, k, v = (torch.from_numpy(x).requires_grad_() for x in rng.normal(size=(3, 2, 5, 4)))

    def attend(*given):
        return aa.attention(*given, EXACT, causal=True, bias=aa.ALiBi.of_heads(2)).value

    assert torch.autograd.gradcheck(attend, (q, k, v))


def test_the_strict_library_takes_it() -> None:
    xp = pytest.importorskip("array_api_strict")
    x = np.random.default_rng(0).normal(size=(3, 2, 9, 4))
    options = {"window": (4, 0), "bias": aa.ALiBi.of_heads(2)}
    found = aa.attention(*(xp.asarray(a) for a in x), EXACT, **options).value
    want = aa.attention(*x, EXACT, **options).value
    np.testing.assert_allclose(np.asarray(found), want, atol=1e-14)


def test_weights_under_a_bias_are_those_of_the_words() -> None:
    q, k = np.random.default_rng(0).normal(size=(2, 6, 4))
    out = aa.attention(q, k, np.eye(6), EXACT, bias=aa.ALiBi(np.array(0.5))).value
    want = weights(q, k, np.True_, 0.5, -0.5 * far(6, 6))
    np.testing.assert_allclose(out, want.astype(float), atol=1e-14)
