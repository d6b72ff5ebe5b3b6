"""States without coefficients: range and degree chosen by the queries, with bounds that hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_attention import output, visible

import approxattn as aa

METHODS = [
    (aa.Polynomial(degree=5, basis="chebyshev"), None),
    (aa.Polynomial(degree=4, basis="taylor"), None),
    (aa.Polynomial(tolerance=0.05, basis="chebyshev"), 7),
    (aa.Polynomial(tolerance=1e-3, basis="taylor"), 6),
]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    shape=st.sampled_from([(12, 3), (30, 1), (2, 9, 4), (3, 1, 7, 2)]),
    size=st.sampled_from([0.0, 1e-20, 1e-3, 0.3, 1.0, 5.0, 40.0]),
    dtype=st.sampled_from(["float32", "float64"]),
    which=st.sampled_from(METHODS),
    cut=st.integers(1, 6),
    shifted=st.booleans(),
)
def test_bounds_hold(
    seed: int,
    shape: tuple[int, ...],
    size: float,
    dtype: str,
    which: tuple[aa.Polynomial, int | None],
    cut: int,
    shifted: bool,
) -> None:
    method, degree = which
    q, k, v = np.random.default_rng(seed).standard_normal((3, *shape))
    q, k, v = ((x * s).astype(dtype) for x, s in ((q, size), (k, 1), (v, 1)))
    n, batch, scale = shape[-2], shape[:-2], shape[-1] ** -0.5
    centre = k.mean(axis=-2, keepdims=True) if shifted else None
    first, rest = (Ellipsis, slice(0, cut), slice(None)), (Ellipsis, slice(cut, None), slice(None))
    state = method.open_state(k[first], v[first], degree=degree, centre=centre)
    out, after = state.attend(q[rest], k[rest], v[rest])
    want = output(q, k, v, visible(n, n, batch, {"causal": True}), scale)[rest]
    some = np.isfinite(out.certificate.rows)
    assert np.all((np.abs(out.value - want).max(axis=-1) <= out.certificate.rows)[some])
    other = method.open_state(k[rest], v[rest], degree=degree, centre=centre)
    whole = output(q, k, v, visible(n, n, batch, {}), scale)
    for seen in (state.merge(other), state.extend(k[rest], v[rest]), after):
        out = seen.query(q)
        some = np.isfinite(out.certificate.rows)
        assert np.all((np.abs(out.value - whole).max(axis=-1) <= out.certificate.rows)[some])


def test_as_a_state_with_that_polynomial() -> None:
    """And with a bound about as good: the half range is at most 2^(1/8) times too large."""
    q, k, v = np.random.default_rng(0).standard_normal((3, 40, 3)) * 0.5
    opened = aa.Polynomial(degree=5).open_state(k, v).query(q)
    half_range = float(np.max(opened.certificate.facts["score bound"])) * 2**0.125
    closed = aa.Polynomial(degree=5).state(k, v, half_range=half_range).query(q)
    gap = np.abs(opened.value - closed.value).max(axis=-1)
    assert np.all(gap <= opened.certificate.rows + closed.certificate.rows)
    assert opened.certificate.bound <= 1.01 * closed.certificate.bound


def test_the_degree_follows_the_queries() -> None:
    q, k, v = np.random.default_rng(1).uniform(-1, 1, (3, 60, 4))
    state = aa.Polynomial(tolerance=0.01).open_state(k, v, degree=9)
    found = [state.query(q * s).certificate for s in (0.01, 0.3, 1.0, 50.0)]
    chosen = [certificate.facts["degree"] for certificate in found]
    assert chosen[0] < chosen[1] < chosen[2] < 9
    assert chosen[3] == 8
    assert found[3].facts["basis"] == "taylor"
    assert not any(certificate.unmet for certificate in found[:3])
    assert "the tolerance is not certified" in " ".join(found[3].unmet)


def test_through_a_file(tmp_path: Path) -> None:
    q, k, v = np.random.default_rng(2).standard_normal((3, 20, 3))
    method = aa.Polynomial(tolerance=0.05)
    state = method.open_state(k, v, degree=4)
    state.save(tmp_path / "sums")
    loaded = aa.MomentState.load(tmp_path / "sums", method)
    assert np.array_equal(loaded.query(q).value, state.query(q).value)
    with pytest.raises(ValueError, match="degree 3, the sums 4"):
        aa.MomentState.load(tmp_path / "sums", aa.Polynomial(degree=3))
    aa.Polynomial(degree=4, basis="taylor").state(k, v).save(tmp_path / "state")
    with pytest.raises(ValueError, match="holds a PolynomialState"):
        aa.MomentState.load(tmp_path / "state", method)


def test_refusals() -> None:
    k = np.ones((4, 2))
    method = aa.Polynomial(degree=3)
    with pytest.raises(ValueError, match=r"degree\(=2\).*one of them"):
        method.open_state(k, k, degree=2)
    with pytest.raises(ValueError, match=r"degree\(=None\).*one of them"):
        aa.Polynomial(tolerance=0.1).open_state(k, k)
    with pytest.raises(ValueError, match="coefficients of your own"):
        aa.Polynomial(coefficients=(1, 1)).open_state(k, k)
    with pytest.raises(ValueError, match="anisotropic"):
        aa.Polynomial(tolerance=0.1, index="anisotropic").open_state(k, k, degree=3)
    state = method.open_state(k, k)
    with pytest.raises(ValueError, match="basis chebyshev"):
        state.merge(aa.Polynomial(degree=3, basis="chebyshev").open_state(k, k))
    with pytest.raises(TypeError, match="must be a MomentState"):
        state.merge(state.moments)  # type: ignore[arg-type]
