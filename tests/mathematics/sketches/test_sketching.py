"""Sketching operators: what each computes, its second moment, and that it speaks every array
library.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from namespaces import LIBRARIES, Library

from approxattn import sketching
from approxattn.sketching import hashed

MASK = np.array([[1, 0, 1, 1, 0, 1, 1], [0, 0, 0, 1, 0, 1, 0]], bool)


def linear_operators(rng: np.random.Generator) -> list[Any]:
    return [
        sketching.gaussian(7, 3, rng),
        sketching.rademacher(7, 3, rng),
        sketching.sparse_signs(7, 3, rng),
        sketching.count_sketch(7, 3, rng),
        sketching.srht(7, 3, rng),
        sketching.weighted_rows(np.arange(1.0, 8) / 28, 5, rng),
        sketching.Convolution(kernel=np.array([0.5, -1.0, 2.0]), length=7),
        sketching.Convolution(kernel=rng.normal(size=(2, 4)), length=7),
        sketching.row_sample(np.ones(7, bool), 9, rng),
        sketching.row_sample(MASK, 3, rng),
        sketching.mean_pool(np.ones(7, bool), 3),
        sketching.mean_pool(MASK, 3),
        sketching.mean_pool(MASK, 9),
    ]


def operators(rng: np.random.Generator) -> list[Any]:
    return [
        *linear_operators(rng),
        sketching.max_pool(np.ones(7, bool), 3),
        sketching.max_pool(MASK, 3),
    ]


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_operators_in_every_library(library: Library) -> None:
    x = np.random.default_rng(0).normal(size=(2, 7, 4))
    for operator in operators(np.random.default_rng(1)):
        array = operator.apply(library.put(x))
        assert library.owns(array)
        assert array.shape[-1] == 4
        np.testing.assert_allclose(library.get(array), operator.apply(x), rtol=1e-12, atol=1e-12)


def test_blocks_are_contiguous_and_nearly_equal() -> None:
    x = np.arange(11.0)[:, None]
    pool = sketching.mean_pool(np.ones(11, bool), 4)
    assert pool.counts.tolist() == [2, 3, 3, 3]
    np.testing.assert_allclose(pool.apply(x)[:, 0], [0.5, 3.0, 6.0, 9.0])


def test_blocks_of_visible_tokens_only() -> None:
    x = np.broadcast_to(np.arange(7.0)[:, None], (2, 7, 1))
    pool = sketching.mean_pool(MASK, 3)
    assert pool.counts.tolist() == [[1, 2, 2], [0, 1, 1]]
    np.testing.assert_allclose(pool.apply(x)[..., 0], [[0.0, 2.5, 5.5], [0.0, 3.0, 5.0]])


def test_no_more_blocks_than_visible_tokens() -> None:
    assert sketching.mean_pool(np.ones(4, bool), 9).counts.tolist() == [1, 1, 1, 1]
    assert sketching.mean_pool(MASK, 9).counts.shape == (2, 5)


def test_deviations_from_the_own_block() -> None:
    x = np.random.default_rng(2).normal(size=(2, 7, 3))
    pool = sketching.mean_pool(MASK, 2)
    means = pool.apply(x)
    found = np.sort(np.linalg.norm(pool.deviations(x, means), axis=-1))
    for item in range(2):
        tokens = np.flatnonzero(MASK[item])
        half = len(tokens) // 2
        parts = tokens[:half], tokens[half:]
        wanted = np.concatenate(
            [np.linalg.norm(x[item, p] - x[item, p].mean(axis=0), axis=-1) for p in parts]
        )
        np.testing.assert_allclose(found[item, -len(tokens) :], np.sort(wanted), rtol=1e-12)
        assert not found[item, : -len(tokens)].any()


def test_samples_are_visible_and_shared_by_items_with_equally_many_tokens() -> None:
    twice = np.concatenate([MASK, MASK[:1]])
    index = sketching.row_sample(twice, 200, np.random.default_rng(3)).index
    assert all(set(index[i]) == set(np.flatnonzero(twice[i])) for i in range(3))
    assert (index[0] == index[2]).all()
    alone = [sketching.row_sample(twice[i], 200, np.random.default_rng(3)).index for i in range(3)]
    assert all((index[i] == alone[i]).all() for i in range(3))


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_adjoints_in_every_library(library: Library) -> None:
    """<S x, y> = <x, S^T y> for every linear operator."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(2, 7, 4))
    for operator in linear_operators(np.random.default_rng(1)):
        image = operator.apply(x)
        y = rng.normal(size=image.shape)
        back = operator.adjoint(library.put(y))
        assert library.owns(back)
        found = library.get(back)
        assert found.shape == x.shape
        np.testing.assert_allclose(
            np.sum(found * x, axis=(-2, -1)), np.sum(y * image, axis=(-2, -1)), rtol=1e-11
        )


def test_hidden_tokens_take_no_part() -> None:
    rng = np.random.default_rng(7)
    x, junk = rng.normal(size=(2, 7, 4)), rng.normal(size=(2, 7, 4))
    spoilt = np.where(MASK[..., None], x, 1e3 * junk)
    for operator in (
        sketching.mean_pool(MASK, 3),
        sketching.max_pool(MASK, 3),
        sketching.row_sample(MASK, 4, rng),
    ):
        np.testing.assert_array_equal(operator.apply(spoilt), operator.apply(x))
        y = rng.normal(size=operator.apply(x).shape)
        back = (
            operator.adjoint(y, x)
            if isinstance(operator, sketching.MaxPool)
            else operator.adjoint(y)
        )
        assert not back[~MASK].any()


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_largest_entries_and_their_derivative(library: Library) -> None:
    rng = np.random.default_rng(8)
    x = rng.permutation(2 * 7 * 3).reshape(2, 7, 3).astype(float)
    pool = sketching.max_pool(MASK, 2)
    tokens = [np.flatnonzero(row) for row in MASK]
    wanted = [
        [x[i, t[: len(t) // 2]].max(axis=0), x[i, t[len(t) // 2 :]].max(axis=0)]
        for i, t in enumerate(tokens)
    ]
    np.testing.assert_array_equal(library.get(pool.apply(library.put(x))), wanted)
    y, direction = rng.normal(size=(2, 2, 3)), rng.normal(size=x.shape)
    slope = np.sum(y * (pool.apply(x + 1e-3 * direction) - pool.apply(x - 1e-3 * direction))) / 2e-3
    derivative = library.get(pool.adjoint(library.put(y), library.put(x)))
    assert np.sum(derivative * direction) == pytest.approx(slope, rel=1e-10)


def test_a_tie_goes_to_the_first_token() -> None:
    pool = sketching.max_pool(np.ones(4, bool), 2)
    back = pool.adjoint(np.ones((2, 1)), np.array([[1.0], [1.0], [0.0], [0.0]]))
    assert back[:, 0].tolist() == [1, 0, 1, 0]


def test_the_hadamard_matrix() -> None:
    h = hashed.transform(np.eye(8))
    np.testing.assert_array_equal(h @ h, 8 * np.eye(8))
    assert set(np.unique(h)) == {-1.0, 1.0}
    everything = sketching.srht(5, 8, np.random.default_rng(9))
    x = np.random.default_rng(10).normal(size=(5, 2))
    np.testing.assert_allclose(everything.adjoint(everything.apply(x)), x, rtol=1e-13)
    with pytest.raises(ValueError, match=r"rank\(=9\) exceeds the 8 rows"):
        sketching.srht(5, 9, np.random.default_rng(9))


def test_leverage_scores() -> None:
    x = np.random.default_rng(11).normal(size=(9, 3))
    x[:, 2] = x[:, 0] - x[:, 1]  # rank 2
    basis = x[:, :2]
    wanted = np.diag(basis @ np.linalg.inv(basis.T @ basis) @ basis.T)
    np.testing.assert_allclose(sketching.leverage_probabilities(x), wanted / 2, rtol=1e-10)
    np.testing.assert_allclose(sketching.leverage_probabilities(np.zeros((4, 2))), 0.25)


DRAWS = 3000
N, K = 6, 4
A, B = np.random.default_rng(5).normal(size=(2, N)), np.random.default_rng(55).normal(size=(N, 3))
NORMS = sketching.norm_probabilities(np.linalg.norm(A, axis=0), np.linalg.norm(B, axis=1))
LEVERAGE = sketching.leverage_probabilities(B)
SKETCHES: dict[str, tuple[Any, dict[str, Any]]] = {
    "gaussian": (lambda rng: sketching.gaussian(N, K, rng), {}),
    "rademacher": (lambda rng: sketching.rademacher(N, K, rng), {}),
    "sparse": (lambda rng: sketching.sparse_signs(N, K, rng), {}),
    "sparse, 5": (lambda rng: sketching.sparse_signs(N, K, rng, spread=5), {"spread": 5}),
    "count-sketch": (lambda rng: sketching.count_sketch(N, K, rng), {}),
    "srht": (lambda rng: sketching.srht(N, K, rng), {}),
    "rows": (lambda rng: sketching.weighted_rows(np.full(N, 1 / N), K, rng), {}),
    "rows by norm": (lambda rng: sketching.weighted_rows(NORMS, K, rng), {"probabilities": NORMS}),
    "rows by leverage": (
        lambda rng: sketching.weighted_rows(LEVERAGE, K, rng),
        {"probabilities": LEVERAGE},
    ),
}


@pytest.mark.parametrize("name", SKETCHES)
def test_first_and_second_moment(name: str) -> None:
    draw, options = SKETCHES[name]
    rng = np.random.default_rng(12)
    products = np.stack([s.apply(A.T).T @ s.apply(B) for s in (draw(rng) for _ in range(DRAWS))])
    centred = products - A @ B
    assert (np.abs(centred.mean(axis=0)) < 5 * centred.std(axis=0) / np.sqrt(DRAWS)).all()
    squares = np.sum(centred**2, axis=(1, 2))
    wanted = sketching.second_moment(name.split(" ")[0].rstrip(","), K, A, B, **options)
    assert abs(squares.mean() - wanted) < 5 * squares.std() / np.sqrt(DRAWS)


def test_second_moment_by_enumeration() -> None:
    """Two tokens, all draws of a 1 x 2 sign sketch and of two sampled rows."""
    a, b = np.array([[1.0, 2.0]]), np.array([[3.0], [-1.0]])
    signs = [np.array([[s, t]]) for s in (-1, 1) for t in (-1, 1)]
    mean = np.mean([(a @ s.T @ s @ b - a @ b).item() ** 2 for s in signs])
    assert sketching.second_moment("rademacher", 1, a, b) == pytest.approx(mean)
    q = np.array([0.25, 0.75])
    draws = [
        (q[i] * q[j], (a[0, i] * b[i, 0] / q[i] + a[0, j] * b[j, 0] / q[j]) / 2)
        for i in (0, 1)
        for j in (0, 1)
    ]
    mean = sum(p * (x - (a @ b).item()) ** 2 for p, x in draws)
    assert sketching.second_moment("rows", 2, a, b, probabilities=q) == pytest.approx(mean)
    assert sketching.second_moment("srht", 8, np.ones((1, 5)), np.ones((5, 1))) == 0
    with pytest.raises(ValueError, match=r"kind\(='gauss'\) must be one of 'gaussian'"):
        sketching.second_moment("gauss", 1, a, b)


def test_sampling_by_norms_is_the_best() -> None:
    best = sketching.second_moment("rows", K, A, B, probabilities=NORMS)
    for other in (None, LEVERAGE, 0.9 * NORMS + 0.1 / N):
        assert best < sketching.second_moment("rows", K, A, B, probabilities=other)
