"""Fitted coefficients: the reduction is exact, the fit is the best one, real heads gain by it, no
row can leave the range of v, and no certificate is below the error.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn._problem import pose
from approxattn.bounds.values import range_bound
from approxattn.data import minilm_heads
from approxattn.exponential import given_majorants
from approxattn.methods.polynomials import fitted_polynomial
from approxattn.methods.polynomials.fitting.fit import NEAR_EXP, fit_coefficients
from approxattn.methods.polynomials.fitting.reduction import ReducedScores, reduce_scores


@pytest.fixture
def without_programmes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where values count only: no linear programme, whose majorants make certificates sharper."""
    monkeypatch.setattr(given_majorants, "_solve", lambda _: None)
    yield
    given_majorants.majorants_of.cache_clear()


def tokens(n: int, d: int, size: float = 1.0, seed: int = 0) -> tuple[HostArray, ...]:
    q, k, v = np.random.default_rng(seed).standard_normal((3, n, d))
    return size * q + 1, size * k - 2, v


def relative_error(method: object, *arrays: HostArray, **options: object) -> HostArray:
    wide = [x.astype(np.float64) for x in arrays]
    exact = aa.attention(*wide, aa.Exact(), **options).value
    gap = aa.attention(*wide, method, **options).value - exact
    return np.linalg.norm(gap, axis=(-2, -1)) / np.linalg.norm(exact, axis=(-2, -1))


@pytest.mark.parametrize("causal", [False, True])
def test_reduction_leaves_attention_as_it_is(causal: bool) -> None:
    q, k, v = tokens(40, 3)
    mask = None if causal else np.arange(40) % 3 > 0
    problem = pose(q, k, v, causal=causal, key_mask=mask)
    reduced = reduce_scores(problem)
    scores = reduced.queries @ reduced.keys.T
    w = reduced.weights[:, 0] * np.exp(scores) * (np.tri(40) if causal else 1)
    exact = aa.attention(q, k, v, aa.Exact(), causal=causal, key_mask=mask).value
    np.testing.assert_allclose(w @ v / w.sum(axis=-1, keepdims=True), exact, rtol=0, atol=1e-12)
    if not causal:
        assert np.all(w.sum(axis=-1) >= reduced.weights.sum() * (1 - 1e-12))  # Jensen
        np.testing.assert_allclose(scores @ reduced.weights[:, 0], 0, atol=1e-10)
        raw = (q @ (k - k[mask].mean(axis=0)).T / np.sqrt(3))[:, mask]
        assert np.abs(scores).max() < np.abs(raw).max()


def objective(c: HostArray, reduced: ReducedScores, v: HostArray, rows: HostArray) -> float:
    """The sum that the fit makes least, entry by entry and in the scores themselves."""
    s, w = reduced.queries[rows] @ reduced.keys.T, reduced.weights[:, 0]
    exact = w * np.exp(s)
    z = exact.sum(axis=-1, keepdims=True)
    p = w * np.polynomial.polynomial.polyval(s, c)
    sigma2 = np.mean(np.sum((v - v.mean(axis=0)) ** 2, axis=-1))
    first = (p @ v - p.sum(axis=-1, keepdims=True) * (exact @ v / z)) / z
    return float(np.sum(first**2) / sigma2 + NEAR_EXP * np.sum(((p - exact) / z) ** 2))


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_no_other_coefficients_fit_better(degree: int) -> None:
    q, k, v = tokens(60, 3, seed=degree)
    reduced, rows = reduce_scores(pose(q, k, v)), np.arange(0, 60, 4)
    c = np.asarray(fit_coefficients(reduced, rows, degree))
    s, w = reduced.queries[rows] @ reduced.keys.T, reduced.weights[:, 0]
    z = (w * np.exp(s)).sum(axis=-1)
    mean = np.stack([(w * s**t).sum(axis=-1) / z for t in range(degree + 1)], axis=-1).mean(axis=0)
    assert mean @ c == pytest.approx(1.0, abs=1e-9)
    best, rng = objective(c, reduced, v, rows), np.random.default_rng(0)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(50):
            other = c + size * rng.standard_normal(degree + 1) * np.abs(c).max()
            assert objective(other / (mean @ other), reduced, v, rows) >= best * (1 - 1e-6)


@pytest.mark.usefixtures("without_programmes")
def test_real_heads_gain() -> None:
    heads = minilm_heads()
    for degree, limit, share in ((2, 0.45, 0.8), (4, 0.2, 0.7)):
        fitted = relative_error(aa.FittedPolynomial(degree=degree), heads.q, heads.k, heads.v)
        taylor = relative_error(
            aa.Polynomial(degree=degree, basis="taylor"), heads.q, heads.k, heads.v
        )
        assert np.median(fitted) < min(limit, share * np.median(taylor))
        assert np.all(fitted < 1.2)


@pytest.mark.parametrize("causal", [False, True])
def test_no_row_goes_astray(causal: bool) -> None:
    """Few rows are fitted and scores are large: denominators of others fail, their rows are mended,
    and all stay in the range of v.
    """
    mended = 0
    for seed in range(causal, 10, 2):
        q, k, v = tokens(80, 3, size=3.0, seed=seed)
        out = aa.attention(q, k, v, aa.FittedPolynomial(degree=3, rows=3), causal=causal)
        mended += out.certificate.facts["rows mended"]
        assert np.all((out.value >= v.min(axis=0)) & (out.value <= v.max(axis=0)))
        error = np.max(
            np.abs(out.value - aa.attention(q, k, v, aa.Exact(), causal=causal).value), axis=-1
        )
        assert np.all(error <= out.certificate.rows)
    assert mended > 0


def test_small_scores_are_met_as_by_taylor() -> None:
    q, k, v = tokens(50, 3, size=0.1)
    assert relative_error(aa.FittedPolynomial(degree=4), q, k, v) < 1e-5
    assert relative_error(aa.FittedPolynomial(degree=6), q, k, v) < 1e-7


def test_what_has_no_fit_is_still_answered() -> None:
    q, k, v = tokens(10, 2)
    method = aa.FittedPolynomial(degree=3, rows=4)
    same = aa.attention(q, k, np.ones_like(v) * 7, method).value
    np.testing.assert_array_equal(same, np.full_like(v, 7))
    flat = aa.attention(0 * q, k, v, method).value
    np.testing.assert_allclose(flat, np.broadcast_to(v.mean(axis=0), v.shape), atol=1e-13)
    np.testing.assert_array_equal(
        aa.attention(q, k[:1], v[:1], method).value, np.broadcast_to(v[:1], v.shape)
    )
    mean = aa.attention(q, k, v, aa.FittedPolynomial(degree=0)).value
    assert np.ptp(mean, axis=0).max() < 1e-13
    assert aa.attention(q, k, v[:, :0], method).value.shape == (10, 0)


def oracle(q: HostArray, k: HostArray, v: HostArray, causal: bool, mask: HostArray) -> HostArray:
    """Exact attention in long double."""
    q, k, v = (x.astype(np.longdouble) for x in (q, k, v))
    s = q @ np.swapaxes(k, -1, -2) / np.sqrt(np.longdouble(q.shape[-1]))
    seen = np.broadcast_to(mask[..., None, :], s.shape)
    s = np.where(seen & np.tri(s.shape[-2], dtype=bool) if causal else seen, s, -np.inf)
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e @ v / e.sum(axis=-1, keepdims=True)


def problems(seed: int) -> tuple[HostArray, ...]:
    """Queries, keys and values of one of several shapes, and a mask."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 40)), int(rng.integers(1, 5))
    batch = () if seed % 3 else (2,)
    q, k, v = (rng.standard_normal((*batch, n, x)) for x in (d, d, 3))
    kind = seed % 5
    if kind == 1:  # ties
        q, k = np.round(q), np.round(k)
    if kind == 2:  # a key far away
        k[..., :1, :] *= 30.0
    if kind == 3:  # all far from 0
        q, k, v = q + 5, 0.3 * k - 40, v + 100
    k = k * 10.0 ** rng.uniform(-3, 0.7)
    mask = rng.random((*batch, n)) < (0.7 if seed % 2 else 1.1)
    mask[..., 0] = True
    return q, k, v, mask


@pytest.mark.parametrize(
    ("causal", "dtype", "first"),
    [(False, np.float32, 0), (True, np.float32, 1), (False, np.float64, 2), (True, np.float64, 3)],
)
def test_no_error_is_above_its_bound(causal: bool, dtype: type, first: int) -> None:
    """Every kind of problem against long double; and no bound above that of the range of v."""
    sharper = rows = 0
    for seed in range(first, 28, 4):
        q, k, v, mask = problems(seed)
        q, k, v = (x.astype(dtype) for x in (q, k, v))
        method = aa.FittedPolynomial(degree=seed % 9, rows=1 + seed % 7)
        problem = pose(q, k, v, causal=causal, key_mask=mask)
        out = method.compute(problem)
        error = np.max(np.abs(out.value - oracle(q, k, v, causal, mask)), axis=-1)
        assert np.all(error <= out.certificate.rows), seed
        before = range_bound(out.value, problem)
        assert np.all(out.certificate.rows <= before), seed
        by_range = int(np.sum(out.certificate.rows == before))
        assert by_range == out.certificate.facts["rows bounded by the range of v"], seed
        assert bool(by_range) == bool(out.certificate.unmet), seed
        sharper, rows = sharper + int(np.sum(out.certificate.rows < before / 2)), rows + before.size
    assert sharper > rows / 2


def test_moments_say_more_than_the_range_of_v() -> None:
    q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 400, 8))
    mask = np.ones(400, bool)
    for degree, bound in ((2, 0.3), (4, 8e-3), (6, 1e-4), (8, 1e-6)):
        out = aa.attention(q, k, v, aa.FittedPolynomial(degree=degree))
        error = np.max(np.abs(out.value - oracle(q, k, v, False, mask)))
        assert out.certificate.theorem == "ours.moments"
        assert out.certificate.unmet == ()
        assert error <= out.certificate.bound < bound


def test_the_range_of_v_stands_where_moments_say_nothing() -> None:
    q, k, v = tokens(300, 4, size=2.5)
    out = aa.attention(q, k, v, aa.FittedPolynomial(degree=2))
    assert out.certificate.theorem == "ours.value-range"
    assert "`audit` measures" in out.certificate.unmet[0]
    assert np.all(np.isfinite(out.certificate.rows))
    report = aa.audit(out.value, q, k, v, rows=100, rng=np.random.default_rng(0))
    assert report.largest < float(out.certificate.bound)


def test_mended_rows_have_the_range_alone() -> None:
    """The moments speak of the quotient, which a mended row does not return."""
    seen = 0
    for seed in range(5):
        q, k, v = tokens(60, 3, size=2.0, seed=seed)
        problem = pose(q, k, v)
        _, run = aa.FittedPolynomial(degree=3, rows=3)._run(problem, ())
        mended = ~fitted_polynomial._seen_and_fine(run)[1][:, 0]
        done = fitted_polynomial._finished(run)
        assert np.all(np.isinf(done.sharp[mended])), seed
        assert done.mended == mended.sum()
        seen += int(mended.sum())
    assert seen > 0


def test_weights_that_underflow_leave_the_range() -> None:
    """In float32 a weight of e^-120 is 0, whatever its key's scores are."""
    rng = np.random.default_rng(0)
    q = (np.full((20, 2), 30.0) + 1e-3 * rng.standard_normal((20, 2))).astype(np.float32)
    k = (3 * rng.standard_normal((20, 2))).astype(np.float32)
    v = rng.standard_normal((20, 3)).astype(np.float32)
    out = aa.attention(q, k, v, aa.FittedPolynomial(degree=4))
    assert out.certificate.theorem == "ours.value-range"
    error = np.max(np.abs(out.value - oracle(q, k, v, False, np.ones(20, bool))), axis=-1)
    assert np.all(error <= out.certificate.rows)
    wide = aa.attention(*(x.astype(np.float64) for x in (q, k, v)), aa.FittedPolynomial(degree=4))
    assert wide.certificate.bound < 1e-6


def test_bad_arguments_are_refused() -> None:
    for options in ({"degree": 2.0}, {"degree": 2, "rows": True}):
        with pytest.raises(TypeError, match="must be an int"):
            aa.FittedPolynomial(**options)
    for options in ({"degree": -1}, {"degree": 17}, {"degree": 2, "rows": 0}):
        with pytest.raises(ValueError, match=r"must (lie in|be at least)"):
            aa.FittedPolynomial(**options)
    q, k, v = (x.astype(np.float32) for x in tokens(20, 2, size=1e6))
    with pytest.raises(ValueError, match=r"can reach .* overflow float32"):
        aa.attention(q, k, v, aa.FittedPolynomial(degree=16))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", [30.0, 1e3, 1e8])
def test_scores_beyond_any_fit_leave_the_range_standing(size: float, causal: bool) -> None:
    q, k, v = tokens(30, 3, size=size)
    out = aa.attention(q, k, v, aa.FittedPolynomial(degree=2, rows=5), causal=causal)
    assert np.all((out.value >= v.min(axis=0)) & (out.value <= v.max(axis=0)))
    assert np.all(np.isfinite(out.certificate.rows))


@pytest.mark.usefixtures("without_programmes")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("n", [25, 90])  # by scores, by features
# the last one mends rows and brings entries into the range of v
@pytest.mark.parametrize("size", [0.5, 1.5, 4.0])
def test_gradient_is_that_of_the_output_for_fixed_coefficients(
    causal: bool,
    n: int,
    size: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(2)
    q, k, v = tokens(n, 2, size)
    g, mask = rng.standard_normal((n, 2)), np.arange(n) % 7 != 5
    method = aa.FittedPolynomial(degree=3, rows=12)
    coefficients = tuple(
        aa.attention(q, k, v, method, causal=causal, key_mask=mask).certificate.facts[
            "coefficients"
        ]
    )
    monkeypatch.setattr(fitted_polynomial, "fit_coefficients", lambda *_: coefficients)
    grads = aa.attention_vjp(q, k, v, g, method, causal=causal, key_mask=mask)
    inputs = {"dq": q, "dk": k, "dv": v}
    for name in inputs:
        direction = rng.standard_normal((n, 2))

        def loss(t: float, name: str = name, direction: HostArray = direction) -> float:
            moved = [x + t * direction * (key == name) for key, x in inputs.items()]
            return float(
                np.sum(g * aa.attention(*moved, method, causal=causal, key_mask=mask).value)
            )

        h = 1e-5
        slope = (8 * (loss(h) - loss(-h)) - (loss(2 * h) - loss(-2 * h))) / (12 * h)
        assert slope == pytest.approx(
            float(np.sum(direction * getattr(grads, name))), rel=1e-5, abs=1e-7
        )
    assert not np.any(grads.dk[~mask])
    assert not np.any(grads.dv[~mask])
    assert np.all(np.isinf(grads.certificate.dq))
    assert "no theorem" in grads.certificate.unmet[0]


def test_gradient_takes_leading_axes_one_by_one() -> None:
    q, k, v = (np.stack([x, 0.5 * x[::-1]]) for x in tokens(30, 3))
    g, method = (
        np.random.default_rng(1).standard_normal(v.shape),
        aa.FittedPolynomial(degree=2, rows=10),
    )
    both = aa.attention_vjp(q, k, v, g, method)
    for i in range(2):
        alone = aa.attention_vjp(q[i], k[i], v[i], g[i], method)
        for name in ("dq", "dk", "dv"):
            np.testing.assert_allclose(getattr(both, name)[i], getattr(alone, name), atol=1e-12)


def test_gradient_is_near_the_exact_one_where_the_output_is() -> None:
    q, k, v = tokens(200, 3, 0.3)
    g = np.random.default_rng(3).standard_normal(v.shape)
    exact, fitted = (
        aa.attention_vjp(q, k, v, g, m) for m in (aa.Exact(), aa.FittedPolynomial(degree=6))
    )
    for name in ("dq", "dk", "dv"):
        a, b = getattr(exact, name), getattr(fitted, name)
        assert np.linalg.norm(a - b) < 1e-2 * np.linalg.norm(a)


@pytest.mark.parametrize(("causal", "limit"), [(False, 2.0), (True, 2.6)])
def test_what_it_holds_beside_its_input(causal: bool, limit: float) -> None:
    """Shifted tokens are not held twice, and bounds of rows are weighed some at a time."""
    q, k, v = np.random.default_rng(0).normal(size=(3, 2**16, 16)).astype(np.float32) / 2
    method = aa.FittedPolynomial(degree=2)
    aa.attention(q[:1000], k[:1000], v[:1000], method, causal=causal)
    tracemalloc.start()
    try:
        aa.attention(q, k, v, method, causal=causal)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= limit * 3 * q.nbytes
