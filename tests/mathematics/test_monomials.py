"""The symmetric basis: its size, its multiplicities, and the sums it is for."""

from __future__ import annotations

import itertools
import math

import array_api_compat.numpy as xp
import numpy as np
import pytest

from approxattn.monomials.contraction import features, weights
from approxattn.monomials.dense import dense_sums, horner
from approxattn.monomials.device import blocks
from approxattn.monomials.device.contraction import contract
from approxattn.monomials.index import degrees, multiplicities, rank, suffix_length
from approxattn.monomials.kernel import Kernel

SIZES = [(1, 0), (1, 7), (2, 3), (3, 5), (5, 2), (8, 4)]


@pytest.mark.parametrize(("d", "g"), SIZES)
def test_rank_counts_the_features(d: int, g: int) -> None:
    r = math.comb(d + g, g)
    assert rank(d, g) == r == multiplicities(d, g).size == degrees(d, g).size
    assert features(np.ones((3, d)), g, xp).shape == (r, 3)
    assert rank(d, g) == sum(suffix_length(d, 0, t) for t in range(g + 1))


@pytest.mark.parametrize(("d", "g"), SIZES)
def test_order_and_multiplicities_against_enumeration(d: int, g: int) -> None:
    monomials = [
        m for t in range(g + 1) for m in itertools.combinations_with_replacement(range(d), t)
    ]
    expected = [
        math.factorial(len(m)) // math.prod(math.factorial(m.count(i)) for i in range(d))
        for m in monomials
    ]
    np.testing.assert_array_equal(multiplicities(d, g), expected)
    x = np.random.default_rng(0).integers(-3, 4, (4, d)).astype(float)
    np.testing.assert_array_equal(
        features(x, g, xp), [[math.prod(row[i] for i in m) for row in x] for m in monomials]
    )


@pytest.mark.parametrize(("d", "g"), SIZES)
def test_features_give_the_polynomial_exactly_on_integers(d: int, g: int) -> None:
    rng = np.random.default_rng(d * 10 + g)
    q, k = rng.integers(-2, 3, (5, d)).astype(float), rng.integers(-2, 3, (6, d)).astype(float)
    coefficients = tuple(float(c) for c in rng.integers(1, 5, g + 1))
    product = features(q, g, xp).T @ (weights(coefficients, d)[:, None] * features(k, g, xp))
    np.testing.assert_array_equal(product, horner(q @ k.T, coefficients))


@pytest.mark.parametrize("chunk", [1, 3, 8, 1000])
@pytest.mark.parametrize("causal", [False, True])
def test_contractions_equal_dense_sums_for_any_chunk(
    chunk: int, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "chunk_length", lambda *_: chunk)
    rng = np.random.default_rng(chunk)
    q, k, v = (
        rng.integers(-2, 3, (20, 3)).astype(float),
        rng.integers(-2, 3, (20, 3)).astype(float),
        rng.integers(-3, 4, (20, 2)).astype(float),
    )
    coefficients = (3.0, 1.0, 2.0, 1.0)
    p = horner(q @ k.T, coefficients)
    dense = (np.tril(p) if causal else p) @ v
    np.testing.assert_array_equal(contract(q, k, v, coefficients, causal, xp), dense)
    np.testing.assert_array_equal(dense_sums(q, k, v, coefficients, causal, xp), dense)


@pytest.mark.parametrize("kind", ["features", "scores"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("batch", [(), (2, 1)])
def test_kernel_sums_and_gradients_equal_dense_ones(
    kind: str, causal: bool, batch: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "chunk_length", lambda *_: 4)
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-2, 3, (*batch, 11, 3)).astype(float) for _ in range(2))
    left, right = (rng.integers(-2, 3, (*batch, 11, 2)).astype(float) for _ in range(2))
    kernel = Kernel(coefficients=(3.0, 1.0, 2.0, 1.0), causal=causal, kind=kind, xp=xp)
    s = x @ np.swapaxes(y, -1, -2)
    keep = np.tril(np.ones((11, 11))) if causal else 1.0
    p, slope = keep * (3 + s + 2 * s**2 + s**3), keep * (1 + 4 * s + 3 * s**2)
    ds = slope * (left @ np.swapaxes(right, -1, -2))
    np.testing.assert_array_equal(kernel.sums(x, y, right), p @ right)
    np.testing.assert_array_equal(kernel.transposed_sums(x, y, left), np.swapaxes(p, -1, -2) @ left)
    np.testing.assert_array_equal(kernel.gradient_x(x, left, y, right), ds @ y)
    np.testing.assert_array_equal(kernel.gradient_y(x, left, y, right), np.swapaxes(ds, -1, -2) @ x)
