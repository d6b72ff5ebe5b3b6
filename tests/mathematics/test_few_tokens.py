"""States and readings for a few tokens equal those for many, and their monomials have one order."""

from __future__ import annotations

import numpy as np
import pytest

from approxattn.monomials.contraction import features, weights
from approxattn.monomials.parts.cuts import rows_of
from approxattn.monomials.parts.few import FEW, are_few, few_readings, few_states, monomials
from approxattn.monomials.states import read_states_with_parts, states

SHAPES = [(1, 1), (1, 5), (3, 4), (2, 2, 3), (FEW, 2)]


@pytest.mark.parametrize("degree", range(6))
@pytest.mark.parametrize("shape", SHAPES)
def test_monomials_in_the_order_of_the_index(shape: tuple[int, ...], degree: int) -> None:
    x = np.random.default_rng(degree).standard_normal(shape)
    found = monomials(x, degree).reshape(-1, monomials(x, degree).shape[-1])
    expected = np.asarray(features(x.reshape(-1, shape[-1]), degree, np)).T
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("degree", [0, 1, 2, 4])
@pytest.mark.parametrize("tokens", [1, 2, FEW])
def test_sums_of_few_tokens(tokens: int, degree: int, dtype: str) -> None:
    rng = np.random.default_rng(tokens)
    coefficients = tuple(1.0 / (t + 1) for t in range(degree + 1))
    x, y = rng.standard_normal((2, 2, tokens, 3)).astype(dtype)
    values = rng.standard_normal((2, tokens, FEW)).astype(dtype)
    state = few_states(y, values, coefficients)
    phi = monomials(y.astype(float), degree)
    exact = np.swapaxes(phi * weights(coefficients, 3), -1, -2) @ values.astype(float)
    size = np.finfo(dtype).eps * 1e2 * np.abs(exact).max()
    assert np.abs(state - exact).max() <= size
    degrees = tuple(range(1, degree + 1))
    sums, parts = few_readings(x, state, degree, degrees)
    read = monomials(x.astype(float), degree)
    assert np.abs(sums - read @ exact).max() <= size * 1e2
    for place, t in enumerate(degrees):
        own = read[..., rows_of(3, t)] @ exact[..., rows_of(3, t), -1:]
        assert np.abs(parts[..., place] - own[..., 0]).max() <= size * 1e2


def test_who_calls_them_and_with_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder's token passes here; so few columns, or so many tokens, do not."""
    import approxattn.monomials.states as module

    calls = []
    monkeypatch.setattr(
        module, "few_states", lambda y, v, c: calls.append(y.shape) or few_states(y, v, c)
    )
    y, values = np.ones((1, 3)), np.ones((1, 2))
    states(y, values, (1.0, 1.0), np)
    assert calls == [(1, 3)]
    states(np.ones((FEW + 1, 3)), np.ones((FEW + 1, 40)), (1.0, 1.0), np)
    states(np.ones((3, 3)), np.ones((3, 2)), (1.0, 1.0), np)
    assert len(calls) == 1
    assert not are_few(0, 5)
    read_states_with_parts(y, np.ones((4, 2)), 1, np, (1,))
