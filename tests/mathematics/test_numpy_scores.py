"""Sums by scores on NumPy arrays are those of the generic source, in any grouping of items."""

from __future__ import annotations

import numpy as np
import pytest

from approxattn.monomials.dense import SCORE_BLOCK, dense_gradient, dense_sums
from approxattn.monomials.parts import numpy_scores
from approxattn.monomials.parts.dense import dense_sums_with_parts
from approxattn.monomials.parts.numpy_scores import numpy_dense_gradient, numpy_dense_sums

COEFFICIENTS = (1.0, 0.9, -0.6, 0.2)
SIZES = {
    "one token": ((), 1, 1),
    "no item": ((0, 2), 3, 3),
    "no query": ((2,), 0, 4),
    "many small items": ((3, 4), 5, 9),
    "more than a block": ((2,), SCORE_BLOCK + 3, SCORE_BLOCK + 40),
}


@pytest.fixture(params=SIZES)
def tokens(request: pytest.FixtureRequest) -> list[np.ndarray]:
    batch, n_x, n_y = SIZES[request.param]
    rng = np.random.default_rng(0)
    shapes = (n_x, 3), (n_x, 2), (n_y, 3), (n_y, 2)
    return [rng.integers(-4, 5, (*batch, *s)) / 4 for s in shapes]  # few digits: exact sums


@pytest.mark.parametrize("together", [1, 100, 2**18])
@pytest.mark.parametrize("causal", [False, True])
def test_sums(
    tokens: list[np.ndarray], causal: bool, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numpy_scores, "TOGETHER", together)
    x, _, y, values = tokens
    sums, parts = numpy_dense_sums(x, y, values, COEFFICIENTS, causal, (1, 3))
    alone, none = numpy_dense_sums(x, y, values, COEFFICIENTS, causal)
    np.testing.assert_array_equal(alone, sums)
    assert none.shape == (*x.shape[:-1], 0)
    if not sums.size:
        return
    generic = dense_sums(x, y, values, COEFFICIENTS, causal, np)
    np.testing.assert_allclose(sums, generic, rtol=0, atol=1e-10)
    wide = dense_sums_with_parts(x, y, values, COEFFICIENTS, causal, np, (1, 3))
    np.testing.assert_allclose(parts, wide[..., 2:], rtol=0, atol=1e-10)


@pytest.mark.parametrize("causal", [False, True])
def test_gradient(tokens: list[np.ndarray], causal: bool) -> None:
    x, left, y, right = tokens
    if causal:
        y, right = y[..., : x.shape[-2], :], right[..., : x.shape[-2], :]
    found = numpy_dense_gradient(x, left, y, right, COEFFICIENTS, causal)
    assert found.shape == x.shape
    if found.size:
        generic = dense_gradient(x, left, y, right, COEFFICIENTS, causal, np)
        np.testing.assert_allclose(found, generic, rtol=0, atol=1e-10)
