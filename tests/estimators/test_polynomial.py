"""Polynomial attention: error against degree, rank, memory, tolerance, refusals."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest

import approxattn as aa
from approxattn.monomials.index import rank


def bounded_problem(n: int, d: int, half_range: float, seed: int = 0):
    """q, k, v with |q_i . k_j| / sqrt(d) <= half_range, the bound attained."""
    rng = np.random.default_rng(seed)
    q, k, v = rng.standard_normal((3, n, d))
    q, k = (
        x / np.linalg.norm(x, axis=1, keepdims=True) * math.sqrt(half_range) * d**0.25
        for x in (q, k)
    )
    k[0] = q[0]
    return q, k, v


def largest_error(q, k, v, method, **options) -> float:
    exact = aa.attention(q, k, v, aa.Exact(), **options).value
    return float(np.max(np.abs(aa.attention(q, k, v, method, **options).value - exact)))


@pytest.mark.parametrize("causal", [False, True])
def test_degree_four_taylor_at_scores_within_two(causal: bool) -> None:
    q, k, v = bounded_problem(600, 16, 2.0)
    assert np.max(np.abs(q @ k.T)) / 4 <= 2 + 1e-12
    assert largest_error(q, k, v, aa.Polynomial(degree=4, basis="taylor"), causal=False) < 1e-2
    assert largest_error(q, k, v, aa.Polynomial(degree=8, basis="taylor"), causal=causal) < 1e-2


def test_two_more_degrees_gain_what_the_theory_says() -> None:
    """The first term left out is B^{g+1}/(g+1)!, so two more degrees gain about (g + 2)(g + 3)/B^2:
    5, 10, 18, 27 at B = 2.
    """
    q, k, v = bounded_problem(300, 4, 2.0)
    degrees = (2, 4, 6, 8, 10)
    errors = [largest_error(q, k, v, aa.Polynomial(degree=g, basis="taylor")) for g in degrees]
    for g, (before, after) in zip(degrees, itertools.pairwise(errors), strict=False):
        assert 0.8 <= before / after / ((g + 2) * (g + 3) / 4) <= 1.6, errors
    assert errors[1] < 1e-2
    assert errors[3] < 1e-4


@pytest.mark.parametrize(("d", "degree"), [(1, 4), (4, 6), (16, 4), (32, 2)])
def test_rank_reported_is_minimal(d: int, degree: int) -> None:
    q, k, v = bounded_problem(8, d, 1.0)
    facts = aa.attention(q, k, v, aa.Polynomial(degree=degree)).certificate.facts
    assert facts["rank"] == rank(d, degree) == math.comb(d + degree, degree)


@pytest.mark.parametrize("causal", [False, True])
def test_memory_does_not_grow_with_n(causal: bool) -> None:
    def scratch(n: int) -> int:
        q, k, v = bounded_problem(n, 4, 1.0)
        method = aa.Polynomial(degree=4, basis="taylor")
        aa.attention(q, k, v, method, causal=causal)  # warm caches
        tracemalloc.start()
        try:
            aa.attention(q, k, v, method, causal=causal)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small, large = scratch(4_000), scratch(16_000)
    input_and_output = 12_000 * (3 * 4 + 4) * 8  # growth of q, k, v and the output
    assert large - small <= 6 * input_and_output, (
        "scaled copies of the input, the output, row bounds; nothing of size n r or n^2"
    )


@pytest.mark.parametrize("basis", ["taylor", "minimax"])
@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("fallback", [False, True])
def test_tolerance_is_kept_and_certified(basis: str, tolerance: float, fallback: bool) -> None:
    q, k, v = bounded_problem(200, 3, 3.0, seed=2)
    out = aa.attention(q, k, v, aa.Polynomial(tolerance=tolerance, basis=basis, fallback=fallback))
    osc = np.max(v.max(0) - v.min(0))
    assert out.certificate.unmet == ()
    assert out.certificate.bound <= tolerance * osc * (1 + 1e-9)
    assert (
        largest_error(q, k, v, aa.Polynomial(tolerance=tolerance, basis=basis, fallback=fallback))
        <= tolerance * osc
    )


def test_tolerance_below_rounding_is_confessed() -> None:
    q, k, v = (x.astype(np.float32) for x in bounded_problem(50, 3, 2.0))
    certificate = aa.attention(q, k, v, aa.Polynomial(tolerance=1e-6)).certificate
    assert any("tolerance is not certified" in reason for reason in certificate.unmet)
    assert np.isfinite(certificate.bound)


def test_features_and_scores_agree() -> None:
    q, k, v = bounded_problem(2000, 2, 1.0)
    method = aa.Polynomial(degree=4, basis="taylor", centre="keys")
    by_features = aa.attention(q, k, v, method)
    by_scores = aa.attention(q[:2], k, v, aa.Polynomial(degree=30, basis="taylor"))
    assert by_features.certificate.facts["evaluated by"] == "features"
    assert by_scores.certificate.facts["evaluated by"] == "scores"
    np.testing.assert_allclose(
        by_features.value[:2], aa.attention(q[:2], k, v, method).value, atol=1e-12
    )


def test_key_mask_ignores_even_huge_masked_keys() -> None:
    q, k, v = bounded_problem(100, 3, 1.0)
    mask = np.arange(100) < 60
    spoiled = k.copy()
    spoiled[60:] = 1e100
    method = aa.Polynomial(degree=6)
    np.testing.assert_array_equal(
        aa.attention(q, spoiled, v, method, key_mask=mask).value,
        aa.attention(q, k, v, method, key_mask=mask).value,
    )


def test_items_of_very_different_size_do_not_disturb_each_other() -> None:
    q, k, v = bounded_problem(64, 3, 1.0)
    batch = [np.stack([x, y]) for x, y in ((q, q * 1e30), (k, k * 1e-30), (v, v))]
    for dtype, factor in ((np.float64, 1.0), (np.float32, 1.0)):
        out = aa.attention(
            *(x.astype(dtype) for x in batch), aa.Polynomial(degree=6, basis="taylor")
        ).value
        np.testing.assert_allclose(out[0], out[1], rtol=0, atol=1e-5 * factor)


def test_refusals() -> None:
    q, k, v = bounded_problem(10, 3, 100.0)
    with pytest.raises(ValueError, match="give exactly one"):
        aa.Polynomial()
    with pytest.raises(ValueError, match="give exactly one"):
        aa.Polynomial(degree=2, tolerance=0.1)
    with pytest.raises(ValueError, match=r"degree\(=3\)"):
        aa.Polynomial(degree=3, basis="taylor")
    with pytest.raises(TypeError, match=r"degree\(=4.0\)"):
        aa.Polynomial(degree=4.0)
    with pytest.raises(ValueError, match=r"tolerance\(=2\)"):
        aa.Polynomial(tolerance=2)
    with pytest.raises(ValueError, match="basis='taylor'"):
        aa.attention(q, k, v, aa.Polynomial(degree=4))
    with pytest.raises(ValueError, match="overflow float32"):
        aa.attention(
            *(x.astype(np.float32) for x in (q * 1e3, k * 1e3, v)),
            aa.Polynomial(degree=20, basis="taylor"),
        )


def test_denominators_lost_to_rounding_are_flagged_not_returned() -> None:
    k = (
        np.array([[1.0], [-1.0], [-1.0], [-1.0]]) * 40
    )  # row sums of the polynomial are of size 1e-12 of their terms for the query below
    q, v = np.array([[1.0]]), np.arange(4.0)[:, None]
    out = aa.attention(
        q.astype(np.float32),
        k.astype(np.float32),
        v.astype(np.float32),
        aa.Polynomial(degree=40, basis="taylor"),
    )
    assert np.isfinite(out.value).all() or (
        np.isinf(out.certificate.bound) and out.certificate.unmet
    )


def test_exact_attention_steps_in_where_features_cost_more() -> None:
    q, k, v = bounded_problem(100, 8, 3.0)
    method = aa.Polynomial(tolerance=1e-3)
    out, exact = aa.attention(q, k, v, method), aa.attention(q, k, v, aa.Exact())
    np.testing.assert_array_equal(out.value, exact.value)
    np.testing.assert_array_equal(out.certificate.rows, exact.certificate.rows)
    assert out.certificate.facts["computed by"] == "exact attention"
    assert "features of degree" in out.certificate.facts["because"]
    assert "computed by exact attention" in str(out.certificate)
    grads, exact_grads = (aa.attention_vjp(q, k, v, v, m) for m in (method, aa.Exact()))
    for name in ("dq", "dk", "dv"):
        np.testing.assert_array_equal(getattr(grads, name), getattr(exact_grads, name))
        np.testing.assert_array_equal(
            getattr(grads.certificate, name), getattr(exact_grads.certificate, name)
        )
    assert grads.certificate.facts["computed by"] == "exact attention"


def test_exact_attention_steps_in_where_no_polynomial_reaches_the_tolerance() -> None:
    q, k, v = bounded_problem(30, 3, 60.0)
    certificate = aa.attention(q, k, v, aa.Polynomial(tolerance=1e-3)).certificate
    assert certificate.facts["because"].startswith(
        "no minimax polynomial reaches tolerance(=0.001)"
    )
    assert certificate.unmet == ()
    with pytest.raises(ValueError, match="no minimax polynomial reaches"):
        aa.attention(q, k, v, aa.Polynomial(tolerance=1e-3, fallback=False))


def test_no_fallback_where_features_pay() -> None:
    q, k, v = bounded_problem(3000, 2, 1.0)
    certificate = aa.attention(q, k, v, aa.Polynomial(tolerance=1e-3)).certificate
    assert certificate.facts["evaluated by"] == "features"
    assert "computed by" not in certificate.facts


def test_bounds_that_overflow_are_infinite_and_silent() -> None:
    q, k = np.array([[0.0, 0, 0], [64, 32, 128]]), np.array([[0.0, 0, 0], [2, -4, 1]])
    for scale in (3**-0.5, 1.0, 2.0**10):
        for tolerance in (1e-1, 1e-4):
            method = aa.Polynomial(tolerance=tolerance, basis="taylor", fallback=False)
            try:
                out = aa.attention(q, k, np.array([[0.0], [1.0]]), method, scale=scale)
            except ValueError:
                continue
            assert np.all(
                np.abs(out.value[:, 0] - [0.5, 1 / (1 + np.exp(-128 * scale))])
                <= out.certificate.rows
            )
