"""Values fitted to exact rows: against NumPy's least squares, exact where pooling is, its gradient,
and its figures on real heads.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from gradient_check import check_gradient
from namespaces import LIBRARIES, NUMPY, Library

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.data import minilm_heads

MASK = np.array([[1, 1, 0, 1, 1, 1, 0, 1, 1], [1, 0, 1, 1, 0, 0, 0, 1, 0]], bool)


def problem(seed: int, shape: tuple[int, ...] = (2, 9, 3), size: float = 1.5) -> list[HostArray]:
    return list(np.random.default_rng(seed).uniform(-size, size, (3, *shape)))


def pooled_weights(q: HostArray, k: HostArray, rank: int) -> HostArray:
    edges = np.arange(rank + 1) * len(k) // rank
    means = np.stack([k[a:b].mean(axis=0) for a, b in itertools.pairwise(edges)])
    w = np.diff(edges) * np.exp(q @ means.T / np.sqrt(q.shape[1]))
    return np.asarray(w / w.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("rows", [5, 40, None])
def test_least_squares(rows: int | None) -> None:
    q, k, v = problem(0, (40, 3))
    exact = aa.attention(q, k, v, aa.Exact()).value
    out = aa.attention(q, k, v, aa.FittedLinformer(rank=4, rows=rows, ridge=1e-13)).value
    count = 16 if rows is None else rows
    picked = np.arange(40) if count >= 40 else (2 * np.arange(count) + 1) * 40 // (2 * count)
    w = pooled_weights(q, k, 4)
    values = np.linalg.lstsq(w[picked], exact[picked], rcond=None)[0]
    np.testing.assert_allclose(out, w @ values, atol=1e-6)
    pooled = aa.attention(q, k, v, aa.Linformer(rank=4, sketch="mean-pool")).value
    assert np.linalg.norm((out - exact)[picked]) < np.linalg.norm((pooled - exact)[picked])


def test_ridge_pulls_towards_the_means() -> None:
    q, k, v = problem(1)
    pooled = aa.attention(q, k, v, aa.Linformer(rank=4, sketch="mean-pool")).value
    out = aa.attention(q, k, v, aa.FittedLinformer(rank=4, ridge=1e9)).value
    np.testing.assert_allclose(out, pooled, atol=1e-7)


def test_as_many_blocks_as_keys_is_exact_attention() -> None:
    q, k, v = problem(2)
    out = aa.attention(q, k, v, aa.FittedLinformer(rank=9), key_mask=MASK)
    exact = aa.attention(q, k, v, aa.Exact(), key_mask=MASK).value
    np.testing.assert_allclose(out.value, exact, atol=1e-11)
    assert (np.abs(out.value - exact).max(axis=-1) <= out.certificate.rows).all()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("rank", "rows", "ridge"), [(3, 4, 1e-2), (2, None, 1e-4), (20, 9, 0.1), (1, 1, 1.0)]
)
def test_gradient(rank: int, rows: int | None, ridge: float, masked: bool) -> None:
    q, k, v = problem(3)
    dout = np.random.default_rng(4).normal(size=v.shape)
    method = aa.FittedLinformer(rank=rank, rows=rows, ridge=ridge)
    grads = check_gradient(
        method, {"q": q, "k": k, "v": v}, dout, **({"key_mask": MASK} if masked else {})
    )
    assert grads.certificate.unmet
    if masked:
        assert not grads.dk[~MASK].any()
        assert not grads.dv[~MASK].any()


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_every_library_gives_the_same(library: Library) -> None:
    arrays = [*problem(5), np.random.default_rng(6).normal(size=(2, 9, 3))]

    def both(place: Library) -> tuple[Any, Any]:
        q, k, v, dout = (place.put(x) for x in arrays)
        options = {"key_mask": place.put(MASK)}
        method = aa.FittedLinformer(rank=3, ridge=1e-2)
        return aa.attention(q, k, v, method, **options).value, aa.attention_vjp(
            q, k, v, dout, method, **options
        ).dk

    for found, host in zip(both(library), both(NUMPY), strict=True):
        assert library.owns(found)
        np.testing.assert_allclose(library.get(found), host, rtol=1e-8, atol=1e-10)


def test_real_heads() -> None:
    heads = minilm_heads()
    exact = aa.attention(heads.q, heads.k, heads.v, aa.Exact()).value
    errors = {}
    for method in (
        aa.FittedLinformer(rank=32),
        aa.Linformer(rank=32, sketch="mean-pool"),
        aa.Nystrom(landmarks=32),
    ):
        out = aa.attention(heads.q, heads.k, heads.v, method)
        relative = np.linalg.norm(out.value - exact, axis=(-2, -1)) / np.linalg.norm(
            exact, axis=(-2, -1)
        )
        errors[type(method).__name__] = float(np.median(relative))
        assert (np.abs(out.value - exact).max(axis=-1) <= out.certificate.rows).all()
    assert errors["FittedLinformer"] < 0.8 * errors["Nystrom"] < errors["Linformer"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rank": 2.0}, TypeError, r"rank\(=2.0\) must be an int"),
        ({"rank": 0}, ValueError, r"rank\(=0\) must be at least 1"),
        ({"rank": 2, "rows": 0}, ValueError, r"rows\(=0\) must be at least 1"),
        ({"rank": 2, "rows": False}, TypeError, r"rows\(=False\) must be an int"),
        ({"rank": 2, "ridge": 0.0}, ValueError, r"ridge\(=0.0\) must be a finite positive"),
        ({"rank": 2, "ridge": float("nan")}, ValueError, "ridge"),
    ],
)
def test_bad_parameters(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        aa.FittedLinformer(**arguments)


def test_no_causal_form() -> None:
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match="mix earlier keys with later ones"):
        aa.attention(x, x, x, aa.FittedLinformer(rank=2), causal=True)
