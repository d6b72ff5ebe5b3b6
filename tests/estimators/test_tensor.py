"""Tensor attention against the sum over all pairs, entry by entry."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from namespaces import LIBRARIES, Library

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn._problem import pose
from approxattn.methods.polynomials.tensor_attention import beta_bound


def tokens(
    n: int, d: int, size: float = 1.0, seed: int = 0, batch: tuple[int, ...] = ()
) -> list[HostArray]:
    rng = np.random.default_rng(seed)
    q, k1, k2 = (size * rng.uniform(-1, 1, (*batch, m, d)) for m in (n, n + 3, n - 2))
    v1, v2 = (rng.normal(1, 2, (*batch, m, 3)) for m in (n + 3, n - 2))
    return [q, k1, k2, v1, v2]


def dense(q, k1, k2, v1, v2, scale: float | None = None) -> HostArray:
    q, k1, k2, v1, v2 = (x.astype(np.float64) for x in (q, k1, k2, v1, v2))
    s = np.einsum("...ia,...ja,...la->...ijl", q, k1, k2) * (scale or 1 / q.shape[-1])
    f = np.exp(s - s.max(axis=(-2, -1), keepdims=True))
    f /= f.sum(axis=(-2, -1), keepdims=True)
    return np.einsum("...ijl,...jc,...lc->...ic", f, v1, v2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [(), (2, 1)])
@pytest.mark.parametrize(
    "options",
    [
        {"degree": 6},
        {"degree": 8, "basis": "taylor"},
        {"degree": 12, "basis": "chebyshev"},
        {"tolerance": 1e-3},
    ],
)
def test_certificate_holds_and_is_not_idle(
    options: dict, batch: tuple[int, ...], dtype: str
) -> None:
    for seed, size in ((0, 0.3), (1, 1.2)):
        arrays = [x.astype(dtype) for x in tokens(20, 4, size, seed, batch)]
        out = aa.tensor_attention(*arrays, **options)
        assert out.value.dtype == dtype
        assert out.certificate.target == "softmax attention over pairs of keys"
        error = np.max(np.abs(out.value - dense(*arrays)), axis=-1)
        assert np.all(error <= out.certificate.rows + 1e-13)
        assert np.all(out.certificate.rows < 2.0)
        assert out.certificate.unmet == ()


def test_error_falls_with_the_degree_to_rounding() -> None:
    arrays = tokens(15, 3)
    errors = [
        np.max(np.abs(aa.tensor_attention(*arrays, degree=g).value - dense(*arrays)))
        for g in (2, 4, 8, 14)
    ]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[3] < 1e-12


def test_polynomial_sums_are_those_over_all_pairs() -> None:
    """With few tokens and small integers nothing rounds but the division: P in exact rationals."""
    rng = np.random.default_rng(0)
    q, k1, k2, v1, v2 = (rng.integers(-1, 2, (n, 2)).astype(float) for n in (4, 5, 3, 5, 3))
    out = aa.tensor_attention(q, k1, k2, v1, v2, degree=2, basis="taylor", scale=1.0)
    for i in range(4):
        top, bottom = [Fraction(0)] * 2, Fraction(0)
        for j in range(5):
            for m in range(3):
                s = Fraction(float(np.sum(q[i] * k1[j] * k2[m])))
                p = 1 + s + s * s / 2
                bottom += p
                top = [t + p * Fraction(v1[j, c] * v2[m, c]) for c, t in enumerate(top)]
        np.testing.assert_allclose(
            out.value[i], [float(t / bottom) for t in top], rtol=0, atol=1e-15
        )


def test_score_bound_holds_and_can_be_attained() -> None:
    for seed in range(20):
        q, k1, k2, v1, v2 = tokens(9, 5, 2.0, seed)
        s = np.einsum("ia,ja,la->ijl", np.abs(q), np.abs(k1), np.abs(k2)) / 5
        bound = beta_bound(pose(q, k1, v1, scale=0.2), pose(q, k2, v2, scale=0.2))
        assert np.all(s.max(axis=(1, 2)) <= bound)
    ones = np.ones((1, 4))
    bound = beta_bound(pose(ones, ones, ones, scale=1.0), pose(ones, ones, ones, scale=1.0))
    assert bound == pytest.approx(4.0, rel=1e-12)


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_other_libraries_agree_with_numpy(library: Library) -> None:
    arrays = tokens(12, 3)
    out = aa.tensor_attention(*(library.put(x) for x in arrays), degree=4)
    assert library.owns(out.value)
    plain = aa.tensor_attention(*arrays, degree=4)
    np.testing.assert_allclose(library.get(out.value), plain.value, rtol=0, atol=1e-13)
    np.testing.assert_allclose(out.certificate.rows, plain.certificate.rows, rtol=1e-3, atol=1e-12)


def test_values_of_one_give_one_and_order_of_sides_is_free() -> None:
    q, k1, k2, v1, v2 = tokens(12, 3)
    ones = aa.tensor_attention(q, k1, k2, np.ones_like(v1), np.ones_like(v2), degree=5).value
    np.testing.assert_allclose(ones, 1.0, rtol=0, atol=1e-14)
    there, back = (
        aa.tensor_attention(q, k1, k2, v1, v2, degree=5),
        aa.tensor_attention(q, k2, k1, v2, v1, degree=5),
    )
    np.testing.assert_allclose(there.value, back.value, rtol=0, atol=1e-13)


def test_one_constant_side_leaves_ordinary_attention() -> None:
    """k2 = 1 for a single key: the scores are those of q and k1."""
    q, k1, _, v1, _ = tokens(20, 4)
    v2 = np.ones((1, 3))
    out = aa.tensor_attention(q, k1, np.ones((1, 4)), v1, v2, degree=10, scale=0.5)
    exact = aa.attention(q, k1, v1, aa.Exact(), scale=0.5).value
    np.testing.assert_allclose(out.value, exact, rtol=0, atol=1e-9)


def test_tolerance_that_rounding_breaks_is_confessed() -> None:
    arrays = [x.astype(np.float32) for x in tokens(12, 3)]
    out = aa.tensor_attention(*arrays, tolerance=1e-6)
    assert "tolerance is not certified" in out.certificate.unmet[0]


def test_bad_calls_say_what_to_do() -> None:
    q, k1, k2, v1, v2 = tokens(8, 3)
    for options, message in (
        ({}, "exactly one"),
        ({"degree": 2, "tolerance": 0.1}, "exactly one"),
        ({"tolerance": 2.0}, r"tolerance\(=2.0\)"),
        ({"degree": 3, "basis": "taylor"}, "use degree 4"),
        ({"degree": 3, "basis": "lagrange"}, "basis"),
    ):
        with pytest.raises(ValueError, match=message):
            aa.tensor_attention(q, k1, k2, v1, v2, **options)
    with pytest.raises(ValueError, match="widths 3 and 2"):
        aa.tensor_attention(q, k1, k2, v1, v2[:, :2], degree=2)
    with pytest.raises(ValueError, match="leading axes"):
        aa.tensor_attention(q, k1[None].repeat(2, axis=0), k2, v1, v2, degree=2)
    with pytest.raises(TypeError, match="float32"):
        aa.tensor_attention(q, k1, k2.astype(np.float32), v1, v2.astype(np.float32), degree=2)
    with pytest.raises(ValueError, match="overflow float32"):
        aa.tensor_attention(
            *((1e3 * x).astype(np.float32) for x in (q, k1, k2, v1, v2)), degree=20, basis="taylor"
        )
