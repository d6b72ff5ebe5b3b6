"""Memory of a transformer's gradient: nothing of size n x n on the polynomial path, linear in n,
less with recomputation.
"""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dense_transformer import random_model

import approxattn as aa
from approxattn.transformer import gradient, parameters, with_parameters
from proofs_check.arithmetic.counting import Tally

POLYNOMIAL = aa.Polynomial(degree=2, basis="taylor", gradient="plug-in")


def peak(n: int, *, layers: int = 3, causal: bool = True, **options: Any) -> int:
    """Return the largest number of bytes held at one time, counted by the allocator, beyond the
    input.
    """
    rng = np.random.default_rng(0)
    one = random_model(rng, layers=1, d=4, heads=2, width=2, causal=causal, size=0.3)
    # alike, so that none needs more by itself
    model = replace(one, layers=tuple(one.layers) * layers)
    x, g = rng.standard_normal((2, n, 4))
    gradient(model, x[:64], g[:64], POLYNOMIAL, **options)  # tables of coefficients are made once
    tracemalloc.start()
    try:
        gradient(model, x, g, POLYNOMIAL, **options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("causal", [False, True])
def test_memory_is_linear_in_n(causal: bool) -> None:
    low, high = (peak(n, layers=2, causal=causal) for n in (4096, 8192))
    assert high < 8192**2 * 8 / 20  # one n x n array would be 20 times as much
    assert high < 2.2 * low


def test_recomputation_keeps_two_arrays_a_layer() -> None:
    """One more layer costs T_i and dL/dT_i with recomputation, and all that lies between them
    without. Peaks jump by an array or two where a layer needs more by itself: the second smallest
    of five steps is free of that.
    """
    n = 4096

    def a_layer(recompute: bool) -> int:
        more = {"certify": False, "recompute": recompute}
        steps = np.diff([peak(n, layers=m, **more) for m in (2, 3, 4, 5, 6, 7)])
        return int(np.sort(steps)[1])

    kept, again = a_layer(recompute=False), a_layer(recompute=True)
    token_array = n * 4 * 8
    assert again < 2.2 * token_array
    assert kept > 6.5 * token_array  # also u, q, k, v, heads, z and what g passes on


class Watching(Tally):
    """Counts operations, and remembers the largest array that any of them made."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def wrap(self, result: Any) -> Any:
        if isinstance(result, np.ndarray):
            self.largest = max(self.largest, result.size)
        return super().wrap(result)


def watched(n: int, layers: int, method: Any, *, causal: bool = True) -> Watching:
    """Return what a gradient counted and made, bounds left out: they run on the host."""
    rng, tally = np.random.default_rng(0), Watching()
    model = random_model(
        rng, layers=layers, d=4, heads=2, width=2, causal=causal, activation="tanh", size=0.3
    )
    model = with_parameters(model, {name: tally.array(p) for name, p in parameters(model).items()})
    x, g = (tally.array(y) for y in rng.standard_normal((2, n, 4)))
    gradient(model, x, g, method, certify=False)
    return tally


@pytest.mark.parametrize("causal", [False, True])
def test_no_array_is_quadratic(causal: bool) -> None:
    n = 4096
    assert watched(n, 2, POLYNOMIAL, causal=causal).largest < n * n / 50
    # the count sees such an array where there is one
    assert watched(1024, 1, aa.Exact()).largest >= 1024 * 1024


def test_operations_are_linear_in_n_and_in_the_layers() -> None:
    # the same work in every head
    method = aa.Polynomial(degree=2, basis="taylor", gradient="plug-in", centre="keys")
    base, longer, deeper = (
        watched(n, m, method).flops for n, m in ((2048, 2), (4096, 2), (2048, 4))
    )
    without = watched(2048, 0, method).flops
    assert longer / base == pytest.approx(2, rel=1e-3)
    assert (deeper - without) / (base - without) == pytest.approx(2, rel=1e-12)
