"""Heavy keys and means of similar keys: the output written out in loops, its gradient, its bound,
the blocks, and what it is worth on real heads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn import sketching
from approxattn._arrays import HostArray
from approxattn.bounds.perturbation import tv_from_partial_score_error, tv_from_score_error
from approxattn.data import minilm_heads
from approxattn.methods.low_rank.heavy_keys import HeavyAndMeans


def draw(
    n_q: int, n_k: int, d: int = 3, dv: int = 2, seed: int = 0
) -> tuple[HostArray, HostArray, HostArray]:
    rng = np.random.default_rng(seed)
    return 2 * rng.normal(size=(n_q, d)), 2 * rng.normal(size=(n_k, d)), rng.normal(size=(n_k, dv))


def by_hand(
    q: HostArray, k: HostArray, v: HostArray, method: aa.Clustered, seen: HostArray
) -> HostArray:
    """The definition, query by query, with dictionaries in place of operators; the blocks are those
    of `similar_pool`.
    """
    beta = 1 / np.sqrt(q.shape[1])
    out = np.empty((len(q), v.shape[1]))
    groups = [b[:c] for b, c in _blocks(q, np.ones(len(q), bool), method.query_blocks)]
    blocks = [b[:c] for b, c in _blocks(k, seen, method.key_blocks)]
    for queries in groups:
        if len(queries) == 0:
            continue
        centre = q[queries].mean(axis=0)
        order = sorted(np.flatnonzero(seen), key=lambda j: -centre @ k[j])
        heavy = set(order[: method.heavy])
        for i in queries:
            terms = [(np.exp(beta * q[i] @ k[j]), v[j]) for j in heavy]
            for block in blocks:
                left = [j for j in block if j not in heavy]
                if left:
                    terms.append(
                        (
                            len(left) * np.exp(beta * q[i] @ k[left].mean(axis=0)),
                            v[left].mean(axis=0),
                        )
                    )
            out[i] = sum(w * x for w, x in terms) / sum(w for w, _ in terms)
    return out


def _blocks(x: HostArray, seen: HostArray, count: int) -> list[tuple[HostArray, int]]:
    pool = sketching.similar_pool(x, seen, count)
    return list(zip(pool.members, pool.counts, strict=True))


@pytest.mark.parametrize("settings", [(0, 4, 1), (3, 4, 2), (5, 1, 8), (40, 2, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_output_is_the_definition(settings: tuple[int, int, int], masked: bool) -> None:
    q, k, v = draw(19, 23)
    heavy, blocks, groups = settings
    method = aa.Clustered(heavy=heavy, key_blocks=blocks, query_blocks=groups)
    seen = np.arange(23) % 3 > 0 if masked else np.ones(23, bool)
    out = aa.attention(q, k, v, method, key_mask=seen if masked else None)
    np.testing.assert_allclose(out.value, by_hand(q, k, v, method, seen), rtol=1e-10, atol=1e-12)


def test_with_all_keys_heavy_it_is_exact() -> None:
    q, k, v = draw(9, 30, seed=1)
    out = aa.attention(q, k, v, aa.Clustered(heavy=30, key_blocks=4, query_blocks=2))
    np.testing.assert_allclose(out.value, aa.attention(q, k, v, aa.Exact()).value, rtol=1e-12)
    assert out.certificate.bound < 1e-12


@pytest.mark.parametrize("masked", [False, True])
def test_gradient_is_that_of_the_output(masked: bool) -> None:
    q, k, v = draw(7, 11, seed=2)
    method = aa.Clustered(heavy=2, key_blocks=2, query_blocks=2)
    options: dict[str, Any] = {"key_mask": np.arange(11) != 4} if masked else {}
    dout = np.random.default_rng(3).normal(size=(7, 2))
    grads = aa.attention_vjp(q, k, v, dout, method, **options)
    for place, got in enumerate((grads.dq, grads.dk, grads.dv)):
        for index in np.ndindex(got.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [q.copy(), k.copy(), v.copy()]
                moved[place][index] += step
                ends.append(
                    float(
                        np.sum(
                            dout
                            * aa.attention(moved[0], moved[1], moved[2], method, **options).value
                        )
                    )
                )
            assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(got[index], abs=2e-7)


@pytest.mark.parametrize("batch", [(), (2,)])
def test_operator_and_adjoint(batch: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(*batch, 13, 3))
    seen = rng.random((*batch, 13)) < 0.8
    pool = sketching.similar_pool(x, seen, 4)
    heavy = np.sort(np.argsort(rng.random((*batch, 2, 13)), axis=-1)[..., :5], axis=-1)
    real = np.take_along_axis(np.broadcast_to(seen[..., None, :], (*batch, 2, 13)), heavy, axis=-1)
    operator = HeavyAndMeans(pool=pool, heavy=heavy, real=real)
    made = operator.apply(x, pool.apply(x))
    y = np.where(operator.stands_for_keys()[..., None], rng.normal(size=made.shape), 0.0)
    hidden = np.where(seen[..., None], x, 0.0)
    assert np.sum(operator.apply(hidden, pool.apply(hidden)) * y) == pytest.approx(
        np.sum(hidden * operator.adjoint(y))
    )
    assert not operator.adjoint(y)[~seen].any()


def test_blocks_part_the_visible_tokens_evenly() -> None:
    rng = np.random.default_rng(5)
    seen = rng.random((3, 101)) < 0.4
    pool = sketching.similar_pool(rng.normal(size=(3, 101, 4)), seen, 8)
    for item in range(3):
        found = np.concatenate(
            [m[:c] for m, c in zip(pool.members[item], pool.counts[item], strict=True)]
        )
        assert sorted(found) == list(np.flatnonzero(seen[item]))
        assert np.ptp(pool.counts[item]) <= 1


def test_blocks_find_clusters() -> None:
    rng = np.random.default_rng(6)
    own = np.repeat(np.arange(8), 16)[rng.permutation(128)]
    x = 100 * rng.normal(size=(8, 5))[own] + rng.normal(size=(128, 5))
    pool = sketching.similar_pool(x, np.ones(128, bool), 8)
    assert all(len(set(own[block])) == 1 for block in pool.members)


def test_part_of_the_scores_off_by_eta() -> None:
    rng = np.random.default_rng(7)
    for _ in range(4000):
        n = int(rng.integers(2, 6))
        near = rng.dirichlet(np.full(n, rng.choice([0.1, 1.0, 5.0])))
        off, eta = rng.random(n) < 0.5, 10 ** rng.uniform(-4, 1.3)
        exact = near * np.exp(np.where(off, rng.uniform(-eta, eta, n), 0.0))
        moved = abs(exact / exact.sum() - near).sum() / 2
        assert moved <= tv_from_partial_score_error(eta, near[off].sum()) + 1e-14


@pytest.mark.parametrize("eta", [0.01, 0.5, 3.0, 10.0, 40.0])
def test_that_bound_is_attained(eta: float) -> None:
    assert tv_from_partial_score_error(eta, 1.0) == pytest.approx(
        float(tv_from_score_error(eta)), rel=1e-8
    )
    assert tv_from_partial_score_error(eta, 0.0) < 1e-300
    for r in (0.01, 0.3, 0.9):
        x = np.concatenate([np.geomspace(1e-20, r, 20001), np.linspace(0, r, 20001)])
        up = x * np.exp(eta) / (1 - r + r * np.exp(-eta) + 2 * x * np.sinh(eta)) - x
        down = x - x * np.exp(-eta) / (1 - r + r * np.exp(eta) - 2 * x * np.sinh(eta) + 1e-300)
        best = max(up.max(), down[x < r].max())
        assert best <= tv_from_partial_score_error(eta, r) <= best * (1 + 1e-3) + 1e-9


def test_on_real_heads_it_beats_dearer_methods() -> None:
    heads = minilm_heads()
    q, k, v = (x.astype(np.float64) for x in (heads.q, heads.k, heads.v))
    exact = aa.attention(q, k, v, aa.Exact()).value

    def error(method: Any) -> float:
        value = aa.attention(q, k, v, method).value
        gap = np.linalg.norm(value - exact, axis=(-2, -1)) / np.linalg.norm(exact, axis=(-2, -1))
        return float(np.median(gap))

    ours = error(aa.Clustered(heavy=32, key_blocks=16, query_blocks=16))  # 48 keys a query
    assert ours < 0.2
    assert ours < error(aa.Nystrom(landmarks=64))  # 128 keys a token
    assert ours < error(aa.FittedLinformer(rank=32))


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"heavy": 1.5}, TypeError, "heavy"),
        ({"heavy": -1}, ValueError, "at least 0"),
        ({"key_blocks": 0}, ValueError, "at least 1"),
        ({"query_blocks": 12}, ValueError, "8 or 16"),
        ({"key_blocks": True}, TypeError, "key_blocks"),
    ],
)
def test_refused(settings: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        aa.Clustered(**settings)
