"""Linformer: its certificates against ball arithmetic, its two exact limits, its refuted theorem,
bad input.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from namespaces import LIBRARIES, NUMPY, Library

import approxattn as aa
from approxattn import sketching
from approxattn._arrays import HostArray
from approxattn.data import minilm_heads
from proofs_check.arithmetic.balls import exact_attention, max_error

POOL, SAMPLE = aa.Linformer(rank=3, sketch="mean-pool"), aa.Linformer(rank=3, sketch="row-sample")


def attend(
    method: aa.Linformer, *qkv: HostArray, library: Library = NUMPY, seed: int = 0, **options: Any
) -> Any:
    options = {
        name: library.put(x) if isinstance(x, np.ndarray) else x for name, x in options.items()
    }
    return aa.attention(
        *(library.put(x) for x in qkv), method, rng=np.random.default_rng(seed), **options
    )


def row_errors(
    value: HostArray, q: HostArray, k: HostArray, v: HostArray, key_mask: HostArray | None = None
) -> HostArray:
    """Return upper bounds on the largest error of each row, by ball arithmetic; arrays without
    leading axes.
    """
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    exact = exact_attention(q, k, v, key_mask=key_mask)
    return np.array([max_error(value[i : i + 1], exact[i : i + 1])[1] for i in range(len(q))])


def holds(out: Any, *qkv: HostArray, key_mask: HostArray | None = None) -> None:
    errors = row_errors(np.asarray(out.value), *qkv, key_mask=key_mask)
    assert (errors <= out.certificate.rows).all(), (errors, out.certificate.rows)


@given(
    shape=st.tuples(*(st.integers(1, top) for top in (3, 9, 3, 2))),
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1e-3, 0.3, 1.0, 4.0]),
    kind=st.sampled_from(["uniform", "clusters", "integers", "decades"]),
    dtype=st.sampled_from(["float64", "float32", "float16"]),
    rank=st.integers(1, 10),
    masked=st.booleans(),
)
@settings(max_examples=150)
def test_mean_pool_certificate(
    shape: tuple[int, ...], seed: int, size: float, kind: str, dtype: str, rank: int, masked: bool
) -> None:
    n_q, n_k, d, dv = shape
    rng = np.random.default_rng(seed)
    q, k, v = (
        rng.uniform(-size, size, (n_q, d)),
        rng.uniform(-size, size, (n_k, d)),
        rng.uniform(-3, 3, (n_k, dv)),
    )
    if kind == "clusters":
        k = np.repeat(k[: n_k // 3 + 1], 3, axis=0)[:n_k] + 1e-3 * k
    elif kind == "integers":
        q, k, v = (np.round(x) for x in (q, k, v))
    elif kind == "decades":
        v = v * 10.0 ** rng.integers(-4, 3, v.shape)
    q, k, v = (x.astype(dtype) for x in (q, k, v))
    mask = rng.integers(0, 2, n_k).astype(bool) if masked else np.ones(n_k, bool)
    mask[rng.integers(0, n_k)] = True
    holds(
        attend(aa.Linformer(rank=rank, sketch="mean-pool"), q, k, v, key_mask=mask),
        q,
        k,
        v,
        key_mask=mask,
    )


def test_mean_pool_certificate_is_nearly_attained() -> None:
    # Scores a and -a, pooled to 0: the error is tanh(a)/2, the bound tanh(a/2)
    q, k, v = np.ones((1, 1)), np.array([[0.01], [-0.01]]), np.array([[1.0], [0.0]])
    out = attend(aa.Linformer(rank=1, sketch="mean-pool"), q, k, v)
    ratio = row_errors(out.value, q, k, v)[0] / out.certificate.rows[0]
    assert 0.999 < ratio < 1
    assert out.certificate.theorem == "ours.mean-pool"
    assert out.certificate.failure == 0


def test_as_many_blocks_as_keys_is_exact_attention() -> None:
    rng = np.random.default_rng(1)
    q, k, v = rng.normal(size=(3, 2, 6, 4))
    mask = np.array([[1, 1, 0, 1, 0, 1], [0, 1, 0, 0, 1, 0]], bool)
    for rank in (4, 50):
        out = attend(aa.Linformer(rank=rank, sketch="mean-pool"), q, k, v, key_mask=mask)
        assert (
            np.max(np.abs(out.value - aa.attention(q, k, v, aa.Exact(), key_mask=mask).value))
            < 1e-14
        )
        assert (out.certificate.bound < 1e-12).all()


def test_equal_keys_in_a_block_cost_nothing() -> None:
    rng = np.random.default_rng(2)
    q, k, v = (
        rng.normal(size=(5, 3)),
        np.repeat(rng.normal(size=(4, 3)), [2, 2, 2, 2], axis=0),
        rng.normal(size=(8, 2)),
    )
    out = attend(aa.Linformer(rank=4, sketch="mean-pool"), q, k, v)
    assert out.certificate.bound < 1e-12
    holds(out, q, k, v)


def test_blocks_of_unequal_size_are_weighted_by_it() -> None:
    out = attend(
        aa.Linformer(rank=3, sketch="mean-pool"),
        np.zeros((2, 1)),
        np.zeros((7, 1)),
        np.arange(7.0)[:, None],
    )
    np.testing.assert_allclose(out.value, 3.0, rtol=1e-14)


def test_row_sample_certificate_holds_as_often_as_promised() -> None:
    rng = np.random.default_rng(3)
    q, k, v = (
        rng.uniform(-0.4, 0.4, (4, 2)),
        rng.uniform(-0.4, 0.4, (30, 2)),
        rng.uniform(size=(30, 2)),
    )
    method = aa.Linformer(rank=40, sketch="row-sample", confidence=0.5)
    exact = aa.attention(q, k, v, aa.Exact()).value
    runs = [attend(method, q, k, v, seed=seed) for seed in range(300)]
    assert runs[0].certificate.failure == 0.5
    assert not runs[0].certificate.unmet
    failed = sum(
        bool((np.max(np.abs(r.value - exact), axis=-1) > r.certificate.rows).any()) for r in runs
    )
    assert failed <= 150 - 4 * np.sqrt(300) / 2
    worst = max(float(np.max(np.abs(r.value - exact)) / r.certificate.bound) for r in runs)
    assert worst > 0.5, "the certificate is too loose to mean anything"


def test_row_sample_of_one_key_is_bounded_surely() -> None:
    rng = np.random.default_rng(4)
    q, k, v = rng.normal(size=(3, 5, 2)) * 3
    out = attend(aa.Linformer(rank=1, sketch="row-sample"), q, k, v)
    holds(out, q, k, v)
    assert out.certificate.failure == 0
    assert "rank(=1) is too small" in out.certificate.unmet[0]
    assert (out.certificate.rows <= (v.max(axis=0) - v.min(axis=0)).max() * (1 + 1e-12)).all()


def test_row_sample_approaches_attention() -> None:
    q, k, v = np.random.default_rng(5).uniform(-0.5, 0.5, (3, 20, 3))
    out = attend(aa.Linformer(rank=400_000, sketch="row-sample"), q, k, v)
    holds(out, q, k, v)
    assert out.certificate.bound < 0.02
    assert out.certificate.theorem == "ours.row-sample"


@pytest.mark.parametrize("delta", [None, 1e-3])
def test_gaussian_is_the_papers_and_has_no_bound(delta: float | None) -> None:
    q, k, v = np.random.default_rng(6).normal(size=(3, 9, 4))
    out = attend(aa.Linformer(rank=5, delta=delta), q, k, v, seed=7)
    r = sketching.gaussian(9, 5, np.random.default_rng(7)).matrix
    e, f = (r, r) if delta is None else (delta * r, np.exp(-delta) * r)
    weights = np.exp(q @ (e @ k).T / 2)
    np.testing.assert_allclose(
        out.value, weights / weights.sum(axis=-1, keepdims=True) @ (f @ v), rtol=1e-12
    )
    assert np.isinf(out.certificate.rows).all()
    assert out.certificate.theorem == "linformer.theorem-2"
    assert "refuted" in out.certificate.unmet[0]


def test_the_counterexample_of_theorem_2() -> None:
    n, k = 512, 250
    q, keys, v = np.zeros((1, 4)), np.random.default_rng(8).normal(size=(n, 4)), np.ones((n, 1))
    outputs = np.array(
        [attend(aa.Linformer(rank=k), q, keys, v, seed=seed).value[0, 0] for seed in range(40)]
    )
    assert (np.abs(outputs - 1) > 0.5).all()  # N(0, n/k^2): 1 is eleven standard deviations away


def test_real_heads() -> None:
    heads = minilm_heads()
    exact = aa.attention(heads.q, heads.k, heads.v, aa.Exact()).value
    norm = np.linalg.norm(exact, axis=(-2, -1))
    for method, low, high in (
        (aa.Linformer(rank=64), 2.0, 9.0),  # worse than returning 0
        (aa.Linformer(rank=64, sketch="mean-pool"), 0.4, 0.8),
    ):
        out = attend(method, heads.q, heads.k, heads.v)
        error = out.value - exact
        relative = np.linalg.norm(error, axis=(-2, -1)) / norm
        assert low < np.median(relative) < high
        assert (np.max(np.abs(error), axis=-1) <= out.certificate.rows).all()


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
@pytest.mark.parametrize("sketch", ["gaussian", "mean-pool", "row-sample"])
def test_every_library_gives_the_same(library: Library, sketch: str) -> None:
    rng = np.random.default_rng(9)
    q, k, v = rng.normal(size=(2, 5, 3)), rng.normal(size=(1, 7, 3)), rng.normal(size=(2, 7, 2))
    mask = np.array([[1, 1, 0, 1, 1, 1, 0], [0, 0, 1, 1, 0, 0, 0]], bool)
    method = aa.Linformer(rank=3, sketch=sketch)
    for options in ({}, {"key_mask": mask}):
        out, host = (
            attend(method, q, k, v, library=library, **options),
            attend(method, q, k, v, **options),
        )
        assert library.owns(out.value)
        np.testing.assert_allclose(library.get(out.value), host.value, rtol=1e-12)
        np.testing.assert_allclose(out.certificate.rows, host.certificate.rows, rtol=1e-6)


@pytest.mark.parametrize("sketch", ["gaussian", "mean-pool", "row-sample"])
def test_masked_keys_and_padding_change_nothing(sketch: str) -> None:
    rng = np.random.default_rng(10)
    q, k, v = rng.normal(size=(3, 6, 2))
    mask = np.array([1, 0, 1, 1, 1, 0], bool)
    method = aa.Linformer(rank=2, sketch=sketch)
    plain = attend(method, q, k, v, key_mask=mask)
    spoilt = [np.where(mask[:, None], x, 1e3) for x in (k, v)]
    longer = [np.concatenate([x, np.full((4, 2), -7.0)]) for x in spoilt]
    padded = attend(method, q, *longer, key_mask=np.concatenate([mask, np.zeros(4, bool)]))
    np.testing.assert_allclose(padded.value, plain.value, rtol=1e-12)


def test_many_queries_pass_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = np.random.default_rng(11).normal(size=(3, 2, 17, 3))
    whole = attend(POOL, q, k, v)
    monkeypatch.setattr("approxattn.softmax.scores.SCORES_AT_ONCE", 12)
    np.testing.assert_allclose(attend(POOL, q, k, v).value, whole.value, rtol=1e-13)


def test_only_mean_pooling_needs_no_generator() -> None:
    q, k, v = np.random.default_rng(12).normal(size=(3, 6, 2))
    assert not POOL.randomised
    aa.attention(q, k, v, POOL)
    for method in (SAMPLE, aa.Linformer(rank=3)):
        assert method.randomised
        with pytest.raises(TypeError, match="rng="):
            aa.attention(q, k, v, method)


def test_no_causal_form() -> None:
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match="mix earlier keys with later ones"):
        attend(POOL, x, x, x, causal=True)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rank": 2.0}, TypeError, r"rank\(=2.0\) must be an int"),
        ({"rank": True}, TypeError, r"rank\(=True\) must be an int"),
        ({"rank": 0}, ValueError, r"rank\(=0\) must be at least 1"),
        (
            {"rank": 2, "sketch": "gauss"},
            ValueError,
            (
                "must be one of 'gaussian', 'rademacher', 'sparse', 'count-sketch', 'srht', "
                "'row-sample', 'mean-pool', 'max-pool'"
            ),
        ),
        (
            {"rank": 2, "sketch": "mean-pool", "delta": 0.1},
            ValueError,
            "belongs to sketch='gaussian'",
        ),
        ({"rank": 2, "delta": 0.0}, ValueError, "finite positive"),
        ({"rank": 2, "delta": float("nan")}, ValueError, "finite positive"),
        ({"rank": 2, "confidence": 1.0}, ValueError, "strictly between 0 and 1"),
        ({"rank": 2, "confidence": float("nan")}, ValueError, "strictly between 0 and 1"),
    ],
)
def test_bad_parameters(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        aa.Linformer(**arguments)


def test_sketched_scores_that_could_overflow() -> None:
    rng = np.random.default_rng(13)
    q, k, v = (rng.normal(size=(400, 1)).astype("float32") * s for s in (1e18, 6e17, 1.0))
    with pytest.raises(ValueError, match=r"the size of sketched scores = .* could overflow"):
        attend(aa.Linformer(rank=1, delta=100.0), q, k, v)
