"""Performer under causal order with more keys than queries: as in the square problem whose first
queries are left out, at the cost of the queries there are.
"""

from __future__ import annotations

import numpy as np
import pytest

import approxattn as aa
from approxattn.methods.random_features import features, sums

METHOD = aa.Performer(features=16)


@pytest.mark.parametrize(("n_q", "n_k"), [(1, 1), (1, 9), (3, 300), (200, 500), (130, 131)])
def test_as_in_the_square_problem(n_q: int, n_k: int) -> None:
    rng = np.random.default_rng(n_k)
    q, dout = rng.normal(size=(2, n_q, 4)), rng.normal(size=(2, n_q, 3))
    k, v = rng.normal(size=(2, n_k, 4)), rng.normal(size=(2, n_k, 3))
    earlier = n_k - n_q
    wide, wide_dout = (np.pad(x, ((0, 0), (earlier, 0), (0, 0))) for x in (q, dout))
    few = {"causal": True, "query_offset": earlier}

    def again() -> np.random.Generator:
        return np.random.default_rng(1)

    out = aa.attention(q, k, v, METHOD, rng=again(), **few)
    square = aa.attention(wide, k, v, METHOD, rng=again(), causal=True)
    np.testing.assert_allclose(out.value, square.value[:, earlier:], atol=1e-13)
    found = aa.attention_vjp(q, k, v, dout, METHOD, rng=again(), **few)
    wanted = aa.attention_vjp(wide, k, v, wide_dout, METHOD, rng=again(), causal=True)
    np.testing.assert_allclose(found.dq, wanted.dq[:, earlier:], atol=1e-12)
    np.testing.assert_allclose(found.dk, wanted.dk, atol=1e-12)
    np.testing.assert_allclose(found.dv, wanted.dv, atol=1e-12)


def test_queries_that_are_not_there_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    own = features.log_query_features

    def count(problem, w, first, last):
        rows.append(last - first)
        return own(problem, w, first, last)

    monkeypatch.setattr(sums, "log_query_features", count)
    q, k, v = (np.random.default_rng(0).normal(size=(n, 4)) for n in (5, 700, 700))
    aa.attention(q, k, v, METHOD, causal=True, query_offset=695, rng=np.random.default_rng(0))
    assert sum(rows) == 5
