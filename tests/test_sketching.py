"""Sketching operators: what each computes, its second moment, and that it speaks every array library."""

from __future__ import annotations

import numpy as np
import pytest
from namespaces import LIBRARIES, Library

from approxattn import sketching
from approxattn._arrays import HostArray

MASK = np.array([[1, 0, 1, 1, 0, 1, 1], [0, 0, 0, 1, 0, 1, 0]], bool)


def operators(rng: np.random.Generator) -> list[sketching.Gaussian | sketching.RowSample | sketching.MeanPool]:
    return [
        sketching.gaussian(7, 3, rng),
        sketching.row_sample(np.ones(7, bool), 9, rng),
        sketching.row_sample(MASK, 3, rng),
        sketching.mean_pool(np.ones(7, bool), 3),
        sketching.mean_pool(MASK, 3),
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
        wanted = np.concatenate([np.linalg.norm(x[item, p] - x[item, p].mean(axis=0), axis=-1) for p in parts])
        np.testing.assert_allclose(found[item, -len(tokens) :], np.sort(wanted), rtol=1e-12)
        assert not found[item, : -len(tokens)].any()


def test_samples_are_visible_and_shared_by_items_with_equally_many_tokens() -> None:
    twice = np.concatenate([MASK, MASK[:1]])
    index = sketching.row_sample(twice, 200, np.random.default_rng(3)).index
    assert all(set(index[i]) == set(np.flatnonzero(twice[i])) for i in range(3))
    assert (index[0] == index[2]).all()
    alone = [sketching.row_sample(twice[i], 200, np.random.default_rng(3)).index for i in range(3)]
    assert all((index[i] == alone[i]).all() for i in range(3))


def test_appended_tokens_leave_the_draws_unchanged() -> None:
    short, long = (sketching.gaussian(n, 4, np.random.default_rng(4)).matrix for n in (5, 8))
    assert (short == long[:, :5]).all()


def second_moment(a: HostArray, b: HostArray, approximations: list[HostArray]) -> tuple[float, float]:
    """Return mean and standard error of ||approximation - a b||_F^2."""
    errors = np.array([np.sum((x - a @ b) ** 2) for x in approximations])
    return float(errors.mean()), float(errors.std() / np.sqrt(len(errors)))


def test_second_moments() -> None:
    rng = np.random.default_rng(5)
    n, k, draws = 6, 4, 4000
    a, b = rng.normal(size=(2, n)), rng.normal(size=(n, 3))
    squares = {name: float(np.sum(x**2)) for name, x in (("a", a), ("b", b), ("ab", a @ b))}
    sketches = [sketching.gaussian(n, k, rng) for _ in range(draws)]
    mean, error = second_moment(a, b, [s.apply(a.T).T @ s.apply(b) for s in sketches])
    assert abs(mean - (squares["a"] * squares["b"] + squares["ab"]) / k) < 5 * error
    samples = [sketching.row_sample(np.ones(n, bool), k, rng) for _ in range(draws)]
    mean, error = second_moment(a, b, [n / k * s.apply(a.T).T @ s.apply(b) for s in samples])
    rows = n * float(np.sum(np.sum(a**2, axis=0) * np.sum(b**2, axis=1)))
    assert abs(mean - (rows - squares["ab"]) / k) < 5 * error
