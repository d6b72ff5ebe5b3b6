"""The floors: Eckart and Young against NumPy's own singular values, output errors by hand, the
randomised decomposition within its bound.
"""

from __future__ import annotations

import numpy as np
import pytest
from namespaces import LIBRARIES, Library

from approxattn._arrays import HostArray
from approxattn.data import minilm_heads
from approxattn.diagnosis import singular_values as oracles


def weights(n: int = 60, d: int = 4, size: float = 1.5, seed: int = 0) -> HostArray:
    q, k = np.random.default_rng(seed).normal(size=(2, n, d)) * size
    w = np.exp(q @ k.T / np.sqrt(d))
    return np.asarray(w / w.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_output_errors_by_hand(library: Library) -> None:
    p, v = weights(), np.random.default_rng(1).normal(size=(60, 3))
    errors = oracles.output_errors(library.put(p), library.put(v))
    u, s, vh = np.linalg.svd(p)
    for rank in (0, 1, 5, 30):
        wanted = np.linalg.norm((u[:, :rank] * s[:rank]) @ vh[:rank] @ v - p @ v) / np.linalg.norm(
            p @ v
        )
        assert errors[rank] == pytest.approx(wanted, rel=1e-9)
    assert errors[-1] == 0
    assert (np.diff(errors) <= 0).all()
    for tolerance in (0.3, 0.01, 0.0):
        rank = oracles.rank_for(errors, tolerance)
        assert errors[rank] <= tolerance < (errors[rank - 1] if rank else np.inf)
    assert not oracles.output_errors(p, np.zeros((60, 2))).any()


def test_row_stochastic_facts() -> None:
    p = weights()
    s = np.linalg.svd(p, compute_uv=False)
    assert 1 <= s[0] <= np.sqrt(p.sum(axis=0).max())
    assert 1 <= np.sum(s**2) <= 60


def test_real_heads_are_not_of_logarithmic_rank() -> None:
    heads = minilm_heads()
    ranks = []
    for i in range(4):
        for j in range(2):
            q, k, v = (x[i, j].astype(float) for x in (heads.q, heads.k, heads.v))
            w = np.exp(q @ k.T / np.sqrt(32))
            errors = oracles.output_errors(w / w.sum(axis=1, keepdims=True), v)
            ranks.append(oracles.rank_for(errors, 0.01))
    assert 60 < np.median(ranks) < 250
