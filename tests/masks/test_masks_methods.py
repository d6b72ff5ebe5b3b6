"""Every method under every mask it takes: its certificate holds, and a piece by itself gives the
same numbers.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from masked_attention import Masked, masked_problems, output
from methods import TABLE, Row

import approxattn as aa

CAUSAL = [row for row in TABLE if not row.method.why_not_causal and "causal" not in row.exempt]
SURE = [row for row in TABLE if row.target == "softmax" and not row.needs_square]


def call(row: Row, problem: Masked, **options):
    """Call the method with its own draws."""
    rng = np.random.default_rng(3) if row.method.randomised else None
    return aa.attention(problem.q, problem.k, problem.v, row.method, rng=rng, **options)


@pytest.mark.parametrize("row", SURE, ids=str)
def test_no_error_above_its_certificate(row: Row) -> None:
    causal = None if row in CAUSAL else False

    @settings(
        max_examples=3 if row.every > 1 else 25,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(masked_problems(alone=True, causal=causal, longest=8))
    def hold(problem: Masked) -> None:
        try:
            out = call(row, problem, **problem.options)
        except ValueError:
            return  # a piece is too small for the settings, or a row has no direction
        assert np.all(out.value[~problem.see.any(-1)] == 0)
        if out.certificate.failure or out.certificate.target != "softmax attention":
            return
        want = output(problem.q, problem.k, problem.v, problem.see, problem.scale)
        assert np.all(np.abs(out.value - want).max(-1) <= out.certificate.rows)

    hold()


def tokens(n_q: int, n_k: int, *batch: int) -> Masked:
    """Return a problem of tokens that point everywhere."""
    rng = np.random.default_rng(7)
    q, k, v = (rng.normal(size=(*batch, n, w)) for n, w in ((n_q, 4), (n_k, 4), (n_k, 3)))
    return Masked(q=q, k=k, v=v)


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_segments_are_calls_of_their_own(row: Row) -> None:
    problem = tokens(16, 16)
    segments = np.repeat([4, 1], 8)
    whole = call(row, problem, segments=segments)
    halves = (slice(0, 8), slice(8, 16))
    q, k, v = problem.q, problem.k, problem.v
    q, k, v = (np.stack([x[half] for half in halves]) for x in (q, k, v))
    apart = call(row, Masked(q=q, k=k, v=v))
    rows = apart.certificate.rows
    np.testing.assert_array_equal(whole.value, np.concatenate(list(apart.value)))
    np.testing.assert_array_equal(whole.certificate.rows, np.concatenate(list(rows)))
    assert whole.certificate.failure == pytest.approx(min(1.0, 2 * apart.certificate.failure))


@pytest.mark.parametrize("row", CAUSAL, ids=str)
def test_the_lower_right_corner_holds_the_last_rows(row: Row) -> None:
    """With copies of the first of the last queries before them, a square call has the same rows."""
    if row.needs_square:
        pytest.skip("it needs as many queries as keys")
    if "query permutation" in row.exempt:
        pytest.skip("its blocks of queries begin elsewhere in a square call")
    problem = tokens(3, 8)
    few = call(row, problem, causal=True, query_offset=5)
    square = Masked(
        q=np.concatenate([np.repeat(problem.q[:1], 5, axis=0), problem.q]), k=problem.k, v=problem.v
    )
    want = call(row, square, causal=True)
    few_rows, rows = few.certificate.rows, want.certificate.rows[5:]
    if isinstance(row.method, aa.Polynomial):  # copies move the mean that queries are centred by
        assert np.all(np.abs(few.value - want.value[5:]).max(-1) <= few_rows + rows)
        return
    np.testing.assert_allclose(few.value, want.value[5:], rtol=1e-9, atol=1e-9)
    assert np.all(few_rows <= rows * 1.01 + 1e-12)


@pytest.mark.parametrize("row", CAUSAL, ids=str)
def test_the_upper_left_corner_leaves_later_keys_out(row: Row) -> None:
    problem = tokens(5, 9)
    few = call(row, problem, causal=True, query_offset=0)
    square = Masked(q=problem.q, k=problem.k[:5], v=problem.v[:5])
    np.testing.assert_array_equal(few.value, call(row, square, causal=True).value)


@pytest.mark.parametrize("row", CAUSAL, ids=str)
def test_padding_on_the_left_is_not_there(row: Row) -> None:
    problem = tokens(8, 8, 2)
    mask = np.ones((2, 8), bool)
    mask[1, :3] = False
    whole = call(row, problem, causal=True, key_mask=mask, empty_rows="zero")
    alone = Masked(q=problem.q[1, 3:], k=problem.k[1, 3:], v=problem.v[1, 3:])
    if row.method.randomised and "shared draws" not in row.exempt:
        assert np.all(whole.value[1, :3] == 0)  # later groups draw other numbers
        return
    np.testing.assert_array_equal(whole.value[1, :3], 0)
    np.testing.assert_allclose(whole.value[1, 3:], call(row, alone, causal=True).value, atol=1e-12)


@pytest.mark.parametrize("row", CAUSAL, ids=str)
def test_the_gradient_of_the_last_queries(row: Row) -> None:
    """Where the gradient is that of the output, finite differences agree under an offset."""
    if row.needs_square or not getattr(row.method, "gradient_of_output", False):
        pytest.skip("it needs a square, or its gradient is another")
    problem, options = tokens(3, 7), {"causal": True, "query_offset": 4}
    problem = Masked(q=problem.q + 1.5, k=problem.k, v=problem.v)  # far from 0: a mean is taken off
    rng = np.random.default_rng(5)
    g = rng.normal(size=(3, 3))
    draws = {"rng": np.random.default_rng(3)} if row.method.randomised else {}
    arrays = problem.q, problem.k, problem.v
    found = aa.attention_vjp(*arrays, g, row.method, **options, **draws)
    steps = [rng.normal(size=x.shape) for x in arrays]
    parts = zip((found.dq, found.dk, found.dv), steps, strict=True)
    slope = sum(float((part * step).sum()) for part, step in parts)

    def along(t: float) -> float:
        moved = Masked(**{n: x + t * s for n, x, s in zip("qkv", arrays, steps, strict=True)})
        return float((call(row, moved, **options).value * g).sum())

    h = 1e-5
    assert slope == pytest.approx((along(h) - along(-h)) / (2 * h), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_a_window_works_or_is_refused_with_the_way_out(row: Row) -> None:
    problem = tokens(8, 8)
    if getattr(row.method, "why_no_window", "default") == "":
        assert call(row, problem, window=(2, 1)).value.shape == (8, 3)
        return
    with pytest.raises(ValueError, match=r"window\(=\(2, 1\)\) with .*Exact\(\) takes"):
        call(row, problem, window=(2, 1))
