"""The log-sum-exp of every row: within its bound under any masks, and what parts merge by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from masked_attention import EXTENDED, Masked, masked_problems

import approxattn as aa

EXACT = aa.Exact()
Q, K, V = np.random.default_rng(0).normal(size=(3, 2, 40, 4))


def truth(problem: Masked):
    """Return the log-sum-exps in extended precision, -inf for rows without keys."""
    q, k = (x.astype(EXTENDED) for x in (problem.q, problem.k))
    scores = EXTENDED(problem.scale) * q @ np.swapaxes(k, -1, -2) + problem.bias
    scores = np.where(problem.see, scores, -np.inf)
    top = scores.max(-1)
    safe = np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        return safe + np.log(np.exp(scores - safe[..., None]).sum(-1))


def held(out, want) -> None:
    some = np.isfinite(want)
    np.testing.assert_array_equal(out.lse[~some], -np.inf)
    np.testing.assert_array_equal(out.certificate.lse[~some], 0)
    assert np.all(np.abs(out.lse[some] - want[some]) <= out.certificate.lse[some])


@given(masked_problems(), st.sampled_from([np.float64, np.float32, np.float16]))
def test_within_its_bound_under_any_masks(problem: Masked, dtype) -> None:
    q, k, v = (x.astype(dtype) for x in (problem.q, problem.k, problem.v))
    out = aa.attention(q, k, v, EXACT, return_lse=True, **problem.options)
    held(out, truth(Masked(q=q, k=k, v=v, options=problem.options)))
    plain = aa.attention(q, k, v, EXACT, **problem.options)
    np.testing.assert_allclose(
        out.value, plain.value, rtol=1e-2 if dtype is np.float16 else 1e-5, atol=1e-6
    )
    assert plain.lse is None
    assert plain.certificate.lse is None


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-4, 30.0, 1e3, 1e12])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_at_all_scales(size: float, dtype) -> None:
    """Over two blocks of keys, with scores that rounding alone decides and scores of nothing."""
    rng = np.random.default_rng(1)
    q, k, v = (rng.normal(size=(n, 3)).astype(dtype) for n in (5, 2500, 2500))
    q, v = (q * size).astype(dtype), v + dtype(1e3)
    out = aa.attention(q, k, v, EXACT, return_lse=True)
    held(out, truth(Masked(q=q, k=k, v=v)))
    assert out.certificate.lse.max() <= 1e3 * np.finfo(dtype).eps * (9 + size * 10)


def test_products_of_many_equal_terms_drift() -> None:
    """All roundings of a product of 30,000 equal terms go the same way: 100 to 300 u of the score,
    which only the bound on the scores covers.
    """
    rng, d = np.random.default_rng(1), 30_000
    q, k = (np.tile(rng.uniform(0.5, 1, (n, 1)), (1, d)).astype(np.float32) for n in (6, 2))
    out = aa.attention(q, k, np.ones((2, 1), np.float32), EXACT, return_lse=True, scale=1 / d)
    scores = (q.astype(EXTENDED) @ k.T.astype(EXTENDED)) / d
    want = np.log(np.exp(scores).sum(-1))
    held(out, want)
    assert np.abs(out.lse - want).max() > 30 * 2.0**-24


@given(st.integers(0, 2**32 - 1), st.integers(1, 39))
def test_parts_merge(seed: int, cut: int) -> None:
    q, k, v = 2 * np.random.default_rng(seed).normal(size=(3, 2, 40, 4))
    whole = aa.attention(q, k, v, EXACT, causal=True, return_lse=True)
    parts = [
        aa.attention(
            q,
            k[:, keys],
            v[:, keys],
            EXACT,
            causal=True,
            query_offset=-keys.start,
            empty_rows="zero",
            return_lse=True,
        )
        for keys in (slice(0, cut), slice(cut, 40))
    ]
    lse = np.logaddexp(*(part.lse for part in parts))
    merged = sum(np.exp(part.lse - lse)[..., None] * part.value for part in parts)
    np.testing.assert_allclose(lse, whole.lse, atol=1e-13)
    np.testing.assert_allclose(merged, whole.value, atol=1e-13)


def test_values_of_no_columns_and_of_no_queries() -> None:
    out = aa.attention(Q, K, V, EXACT, return_lse=True)
    none = aa.attention(Q, K, V[..., :0], EXACT, return_lse=True)
    np.testing.assert_array_equal(none.lse, out.lse)
    assert aa.attention(Q[:, :0], K, V, EXACT, return_lse=True).lse.shape == (2, 0)
    assert out.to_dict()["lse"] == {"shape": [2, 40], "dtype": "float64"}


def test_rubbish_makes_nan_of_its_item_alone() -> None:
    k = K.copy()
    k[1, 3] = np.nan
    out = aa.attention(Q, k, V, EXACT, return_lse=True, nan_policy="propagate")
    assert np.all(np.isfinite(out.lse[0]) & np.isfinite(out.certificate.lse[0]))
    assert np.all(np.isnan(out.lse[1]) & np.isinf(out.certificate.lse[1]))


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"return_lse=True with Polynomial: .* use Exact\(\)"):
        aa.attention(Q, K, V, aa.Polynomial(degree=4), return_lse=True)
    with pytest.raises(TypeError, match=r"return_lse\(=1\)"):
        aa.attention(Q, K, V, EXACT, return_lse=1)


def test_torch_has_no_gradient_of_it() -> None:
    torch = pytest.importorskip("torch")
    q, k, v = (torch.from_numpy(x).requires_grad_() for x in (Q, K, V))
    out = aa.attention(q, k, v, EXACT, return_lse=True)
    out.value.sum().backward()
    with pytest.raises(RuntimeError, match="not differentiable"):
        out.lse.sum().backward()
