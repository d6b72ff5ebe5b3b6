"""Performer: against its formula, its exact variances by quadrature, log space, causal prefix
states, its gradient, its certificate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradient_check import check_gradient
from namespaces import LIBRARIES, NUMPY, Library

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn._problem import pose
from approxattn.data import minilm_heads
from approxattn.methods.random_features import features as random_features
from approxattn.methods.random_features import gradient as feature_gradient
from approxattn.methods.random_features import sums as feature_sums

MASK = np.array([[1, 1, 0, 1, 1, 1, 0, 1, 1], [1, 0, 1, 1, 0, 0, 0, 1, 0]], bool)
METHODS = [
    aa.Performer(features=7),
    aa.Performer(features=7, orthogonal=False),
    aa.Performer(features=8, kind="hyperbolic"),
]


def problem(seed: int, shape: tuple[int, ...] = (2, 9, 3), size: float = 1.0) -> list[HostArray]:
    return list(np.random.default_rng(seed).uniform(-size, size, (3, *shape)))


def by_formula(
    q: HostArray, k: HostArray, v: HostArray, w: HostArray, keep: HostArray
) -> HostArray:
    """Return the output from all n x n weights, in extended precision, for one item."""
    x, y, w, v = (
        (z * f).astype(np.longdouble)
        for z, f in ((q, q.shape[1] ** -0.25), (k, q.shape[1] ** -0.25), (w, 1), (v, 1))
    )
    g, h = x @ w.T, y @ w.T - np.sum(y * y, axis=1, keepdims=True) / 2
    a = np.where(keep, np.sum(np.exp(g[:, None] + h[None]), axis=2), 0)
    return np.asarray((a @ v / a.sum(axis=1, keepdims=True)).astype(float))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("chunk", [1, 4, 128])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_formula(
    method: aa.Performer, chunk: int, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("approxattn.methods.random_features.sums.CAUSAL_CHUNK", chunk)
    monkeypatch.setattr("approxattn.methods.random_features.sums.FEATURES_AT_ONCE", 2 * 8 * chunk)
    q, k, v = problem(0, size=2.0)
    out = aa.attention(
        q, k, v, method, key_mask=MASK, causal=causal, rng=np.random.default_rng(1)
    ).value
    w = random_features.directions(
        3, method.features, method.kind, method.orthogonal, np.random.default_rng(1)
    )
    for i in range(2):
        keep = np.broadcast_to(MASK[i], (9, 9)) & (np.tri(9, dtype=bool) if causal else True)
        np.testing.assert_allclose(
            out[i], by_formula(q[i], k[i], v[i], w, keep), rtol=1e-11, atol=1e-12
        )


@pytest.mark.parametrize("kind", random_features.KINDS)
@pytest.mark.parametrize(("x", "y"), [(0.3, 0.5), (-0.7, 0.2), (0.0, 0.0), (0.4, -0.4)])
def test_exact_variance_by_quadrature(kind: str, x: float, y: float) -> None:
    """d = 1: Gauss-Hermite quadrature over w of the package's own features."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    posed = pose(np.array([[x]]), np.array([[y]]), np.ones((1, 1)))

    def feature(w: HostArray) -> HostArray:
        g = random_features.log_query_features(posed, w[:, None], 0, 1) - x * x / 2
        return np.exp(g + random_features.log_key_features(posed, w[:, None], 0, 1))[0]

    pairs = feature(nodes) if kind == "positive" else (feature(nodes) + feature(-nodes)) / 2
    mean = weights @ pairs
    assert mean == pytest.approx(np.exp(x * y), rel=1e-12)
    draws = 6 if kind == "positive" else 3  # six features either way
    variance = (weights @ pairs**2 - mean**2) / draws / mean**2
    found = random_features.relative_variance(np.array((x + y) ** 2), 6, kind)
    assert float(found) == pytest.approx(float(variance), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("kind", random_features.KINDS)
def test_orthogonal_draws_are_unbiased_and_not_worse(kind: str) -> None:
    x, y = np.array([0.4, 0.1, -0.2]), np.array([0.3, 0.2, 0.3])
    rng = np.random.default_rng(2)
    estimates = {}
    for orthogonal in (False, True):
        w = np.stack([random_features.directions(3, 6, kind, orthogonal, rng) for _ in range(6000)])
        estimates[orthogonal] = np.exp(w @ (x + y) - (x @ x + y @ y) / 2).mean(axis=1)
    bound = float(random_features.relative_variance(np.sum((x + y) ** 2), 6, kind)) * np.exp(
        2 * x @ y
    )
    for found in estimates.values():
        assert abs(found.mean() - np.exp(x @ y)) < 5 * found.std() / np.sqrt(6000)
    squares = (estimates[False] - np.exp(x @ y)) ** 2
    assert abs(squares.mean() - bound) < 5 * squares.std() / np.sqrt(6000)
    assert estimates[True].var() < estimates[False].var()


def test_directions() -> None:
    rng = np.random.default_rng(3)
    w = random_features.directions(4, 6, "positive", True, rng)
    gram = w @ w.T
    off = gram - np.diag(np.diag(gram))
    assert w.shape == (6, 4)
    assert np.abs(off[:4, :4]).max() < 1e-12
    assert np.abs(off[4:, 4:]).max() < 1e-12
    assert np.abs(off[:4, 4:]).max() > 0.1
    both = random_features.directions(4, 6, "hyperbolic", False, rng)
    np.testing.assert_array_equal(both[:3], -both[3:])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("causal", [False, True])
def test_huge_scores_neither_overflow_nor_vanish(dtype: str, causal: bool) -> None:
    """Scores of thousands, growing along the sequence: e^score is far outside the dtype, in both
    directions.
    """
    rng = np.random.default_rng(4)
    sizes = np.linspace(0.1, 60, 40)[:, None]
    q, k, v = (
        x.astype(dtype)
        for x in (
            rng.normal(size=(40, 3)) * 20,
            rng.normal(size=(40, 3)) * sizes,
            rng.normal(size=(40, 2)),
        )
    )
    method = aa.Performer(features=5)
    for flip in (False, True):
        keys = k[::-1] if flip else k
        out = aa.attention(q, keys, v, method, causal=causal, rng=np.random.default_rng(5))
        w = random_features.directions(3, 5, "positive", True, np.random.default_rng(5))
        keep = np.tri(40, dtype=bool) if causal else np.ones((40, 40), bool)
        expected = by_formula(*(x.astype(float) for x in (q, keys, v)), w, keep)
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(out.value, expected, atol=1e-9 if dtype == "float64" else 2e-2)
        grads = aa.attention_vjp(q, keys, v, v, method, causal=causal, rng=np.random.default_rng(5))
        assert all(np.isfinite(x).all() for x in (grads.dq, grads.dk, grads.dv))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("chunk", [1, 4, 128])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_gradient(
    method: aa.Performer, chunk: int, causal: bool, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("approxattn.methods.random_features.sums.CAUSAL_CHUNK", chunk)
    monkeypatch.setattr("approxattn.methods.random_features.sums.FEATURES_AT_ONCE", 2 * 8 * chunk)
    q, k, v = problem(6)
    dout = np.random.default_rng(7).normal(size=v.shape)
    options: dict[str, Any] = {"causal": causal} | ({"key_mask": MASK} if masked else {})
    grads = check_gradient(method, {"q": q, "k": k, "v": v}, dout, **options)
    if masked:
        assert not grads.dk[~MASK].any()
        assert not grads.dv[~MASK].any()


def test_split_chunks_give_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = problem(8, (2, 13, 3))
    dout = np.random.default_rng(9).normal(size=v.shape)

    def grads() -> aa.Gradients:
        return aa.attention_vjp(
            q, k, v, dout, METHODS[0], causal=True, rng=np.random.default_rng(0)
        )

    whole = grads()
    monkeypatch.setattr(
        feature_gradient, "LARGEST_EXPONENT", 1e-9
    )  # every chunk with a later key above a query's mass is split
    split = grads()
    for name in ("dq", "dk", "dv"):
        np.testing.assert_allclose(getattr(split, name), getattr(whole, name), atol=1e-12)


def test_many_features_approach_attention() -> None:
    q, k, v = problem(10, size=0.5)
    exact = aa.attention(q, k, v, aa.Exact()).value
    errors = []
    for m in (16, 256, 4096):
        out = aa.attention(q, k, v, aa.Performer(features=m), rng=np.random.default_rng(11))
        errors.append(float(np.abs(out.value - exact).max()))
        assert (np.abs(out.value - exact).max(axis=-1) <= out.certificate.rows).all()
    assert errors[2] < errors[0] / 4


def test_certificate_holds_as_often_as_promised_and_can_beat_the_range() -> None:
    rng = np.random.default_rng(12)
    q, k, v = (
        rng.uniform(-0.1, 0.1, (4, 2)),
        rng.uniform(-0.1, 0.1, (20, 2)),
        rng.uniform(size=(20, 1)),
    )
    exact = aa.attention(q, k, v, aa.Exact()).value
    method = aa.Performer(features=40, confidence=0.5)
    runs = [aa.attention(q, k, v, method, rng=np.random.default_rng(seed)) for seed in range(200)]
    assert runs[0].certificate.theorem == "ours.positive-features"
    assert runs[0].certificate.failure == 0.5
    assert runs[0].certificate.bound < 0.2
    failed = sum(
        bool((np.abs(r.value - exact).max(axis=-1) > r.certificate.rows).any()) for r in runs
    )
    assert failed <= 100
    worst = max(
        float((np.abs(r.value - exact).max(axis=-1) / r.certificate.rows).max()) for r in runs
    )
    assert worst > 0.05, "the certificate is too loose to mean anything"


def test_real_heads_get_the_sure_bound_only() -> None:
    heads = minilm_heads()
    out = aa.attention(
        heads.q, heads.k, heads.v, aa.Performer(features=256), rng=np.random.default_rng(13)
    )
    exact = aa.attention(heads.q, heads.k, heads.v, aa.Exact()).value
    relative = np.linalg.norm(out.value - exact, axis=(-2, -1)) / np.linalg.norm(
        exact, axis=(-2, -1)
    )
    assert 0.5 < np.median(relative) < 1.0
    assert (np.abs(out.value - exact).max(axis=-1) <= out.certificate.rows).all()
    assert out.certificate.failure == 0
    assert "too few" in out.certificate.unmet[0]


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("causal", [False, True])
def test_every_library_gives_the_same(library: Library, causal: bool) -> None:
    arrays = [*problem(14), np.random.default_rng(15).normal(size=(2, 9, 3))]

    def both(place: Library) -> tuple[Any, Any]:
        q, k, v, dout = (place.put(x) for x in arrays)
        options: dict[str, Any] = {"key_mask": place.put(MASK), "causal": causal}
        value = aa.attention(q, k, v, METHODS[2], rng=np.random.default_rng(0), **options).value
        return value, aa.attention_vjp(
            q, k, v, dout, METHODS[2], rng=np.random.default_rng(0), **options
        ).dk

    for found, host in zip(both(library), both(NUMPY), strict=True):
        assert library.owns(found)
        np.testing.assert_allclose(library.get(found), host, rtol=1e-9, atol=1e-11)


def test_work_is_linear_in_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ordinary scores split no chunk: the number of chunks formed is that of the tokens over the
    chunk length.
    """
    calls: list[int] = []
    own = feature_sums.own_chunk
    monkeypatch.setattr(
        feature_sums, "own_chunk", lambda *a: calls.append(a[0].shape[-2]) or own(*a)
    )
    q, k, v = problem(16, (1000, 3))
    aa.attention(q, k, v, METHODS[0], causal=True, rng=np.random.default_rng(0))
    assert len(calls) == -(-1000 // feature_sums.CAUSAL_CHUNK)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"features": 2.0}, TypeError, r"features\(=2.0\) must be an int"),
        ({"features": 0}, ValueError, r"features\(=0\) must be at least 1"),
        ({"features": 3, "kind": "hyperbolic"}, ValueError, "even for kind='hyperbolic'"),
        ({"features": 2, "kind": "trig"}, ValueError, "must be one of 'positive', 'hyperbolic'"),
        ({"features": 2, "confidence": 0.0}, ValueError, "strictly between 0 and 1"),
        ({"features": 2, "confidence": "a"}, TypeError, r"confidence\(='a'\) must be a number"),
        ({"features": 2, "orthogonal": "yes"}, TypeError, r"orthogonal\(='yes'\) must be True or"),
    ],
)
def test_bad_parameters(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        aa.Performer(**arguments)


def test_exponents_that_could_overflow() -> None:
    q, k, v = (
        np.full((2, 1), 1e-20, "float32"),
        np.full((2, 1), 1e20, "float32"),
        np.ones((2, 1), "float32"),
    )
    with pytest.raises(
        ValueError, match=r"the largest exponent of a feature = .* could overflow float32"
    ):
        aa.attention(q, k, v, METHODS[0], rng=np.random.default_rng(0))


def test_hidden_keys_cannot_make_exponents_overflow() -> None:
    q, k, v = np.random.default_rng(0).standard_normal((3, 4, 2)).astype("float32")
    mask = np.array([True, True, False, True])
    far = np.where(mask[:, None], k, np.float32(1e20))
    for causal in (False, True):
        first, second = (
            aa.attention(
                q, x, v, METHODS[0], causal=causal, key_mask=mask, rng=np.random.default_rng(0)
            )
            for x in (k, far)
        )
        np.testing.assert_array_equal(first.value, second.value)
        np.testing.assert_array_equal(first.certificate.rows, second.certificate.rows)
