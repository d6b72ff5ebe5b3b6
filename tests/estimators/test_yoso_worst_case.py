"""All tokens in one bucket: time and memory of Yoso and of its sampled gradient stay O(n m d dv),
counted and measured by the allocator.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays import HostArray
from proofs_check.arithmetic.counting import Tally


def peak_bytes(task: Callable[[], object]) -> int:
    """Return the most memory allocated at a time while a task runs."""
    tracemalloc.start()
    task()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("gradient", [False, True])
def test_memory_of_one_bucket_is_that_of_many(gradient: bool) -> None:
    """All tokens in one bucket: n^2 collisions a hash, but no more memory than for random
    tokens.
    """
    n = 20_000
    rng = np.random.default_rng(0)
    spread, v, g = (rng.standard_normal((n, w)).astype(np.float32) for w in (8, 4, 4))
    same = np.ones_like(spread)
    method = aa.Yoso(bits=8, hashes=4, gradient="sampled")

    def run_once(x: HostArray) -> object:
        draws = np.random.default_rng(1)
        return (
            aa.attention_vjp(x, x, v, g, method, rng=draws)
            if gradient
            else aa.attention(x, x, v, method, rng=draws)
        )

    run_once(spread)  # what is imported at the first call does not count
    many, one = (peak_bytes(lambda x=x: run_once(x)) for x in (spread, same))  # type: ignore[misc]
    assert one < 1.5 * many
    assert one < 100 * n * (8 + 4 + 4) * 4


@pytest.mark.parametrize("spread", [False, True])
def test_operations_grow_like_the_tokens_in_one_bucket_too(spread: bool) -> None:
    """Multiplications of matrix products, counted: those of the gradient at most m times 2 (n_q +
    n_k) d dv beside hashing and bounds.
    """
    d, dv, hashes, bits = 4, 3, 2, 3
    counted = []
    for n in (64, 128, 256):
        tally, rng = Tally(), np.random.default_rng(0)
        q = rng.standard_normal((n, d)) if spread else np.ones((n, d))
        arrays = [tally.array(x) for x in (q, q, *rng.standard_normal((2, n, dv)))]
        aa.attention_vjp(*arrays, aa.Yoso(bits=bits, hashes=hashes, gradient="sampled"), rng=rng)
        hashing, bounds = 2 * n * d * bits * hashes, 8 * n * d * dv
        assert tally.products <= hashing + bounds + hashes * 2 * (n + n) * d * dv
        counted.append(tally.products)
    assert counted[2] - counted[1] <= 2.1 * (counted[1] - counted[0])
