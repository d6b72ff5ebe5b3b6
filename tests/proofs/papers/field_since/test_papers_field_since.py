"""The field since: every experiment decides, and the figures come out of plain NumPy as well."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from verdicts import as_expected, theorems_of

from proofs_check.papers import (
    aliakbarpour_2025,
    alman_yu_2024,
    budzinskiy_2024,
    castin_2024,
    chen_2024,
    gu_2024,
    gupta_2025,
    haverbeck_2026,
    kacham_2023,
    kim_2021,
    schroeder_2026,
    tzachristas_2025,
    zandieh_2023,
)
from proofs_check.papers.gu_2024.ranks import conv_rank, conv_term
from proofs_check.statements.experiment import Falsify
from proofs_check.statements.verdict import Status

PAPERS = (
    haverbeck_2026,
    gupta_2025,
    zandieh_2023,
    kacham_2023,
    gu_2024,
    tzachristas_2025.truncation,
    schroeder_2026,
    aliakbarpour_2025,
    alman_yu_2024,
    budzinskiy_2024,
    chen_2024,
    kim_2021,
    castin_2024,
)
THEOREMS = theorems_of(PAPERS)


@pytest.mark.parametrize("key", THEOREMS)
def test_the_verdict_is_the_expected_one(key: str) -> None:
    theorem = THEOREMS[key]
    verdicts = as_expected(theorem)
    decided = [not isinstance(experiment, Falsify) for experiment in theorem.experiments]
    undecided = [v.status is Status.INCONCLUSIVE for v in verdicts]
    assert not any(d and u for d, u in zip(decided, undecided, strict=True))


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def gadget(n: int, d: int, t: int, epsilon: float, distances: list[int]) -> float:
    """The first output of Lemma A.5, from the matrices that are printed there, d = D / 4."""

    def vector(distance: int) -> np.ndarray:
        moved = np.zeros(d)
        moved[distance // 2 : d // 2 + distance // 2] = 1
        return moved

    wide = 4 * d
    rho, beta = np.sqrt(wide / (2 * d)), 12 * d * np.log(n) / (epsilon * t)
    mu = 0.5 - (0.5 + epsilon / 3) * t / d
    keys, query = np.zeros((2 * n, wide)), np.zeros(wide)
    for j, distance in enumerate(distances):
        keys[j, :d], keys[j, d : 2 * d] = vector(distance), -mu
    query[:d], query[d : 2 * d] = vector(0), 1
    values = np.repeat([1.0, 0.0], n)
    scores = (rho * np.sqrt(beta) * keys) @ (rho * np.sqrt(beta) * query) / wide
    return float(softmax(scores) @ values)


def test_the_instance_of_lemma_a5_from_its_matrices() -> None:
    n, d, t = 16, 6, 2
    close = gadget(n, d, t, 1.0, [2, *[6] * (n - 1)])
    far = gadget(n, d, t, 1.0, [4] * n)
    assert close > n / (n + 1)
    assert far == pytest.approx(1 / (n + 1), rel=1e-12)
    mixed = gadget(n, d, t, 1.0, [4, 6] * (n // 2))
    assert mixed < 1 / (n + 1)


def test_clipped_exponentials_by_simulation() -> None:
    rng = np.random.default_rng(5)
    g, clip, apart = 0.7, 3.0, 0.4
    e = np.minimum(rng.exponential(size=(400_000, 2)), clip) + np.array([0, apart])
    share = np.mean(np.abs(e[:, 0] - e[:, 1]) >= g)
    q = np.exp(-(clip - g))
    assert share == pytest.approx(np.exp(-g) * np.cosh(apart) * (1 - q * q), abs=4e-3)
    assert share >= np.exp(-g) - 2 * np.exp(-clip)


def test_conv_rank_of_a_sum_of_terms() -> None:
    first = conv_term([3, 1, 4, 1, 5], 5)
    second = conv_term([2, 7, 1], 5)
    total = [
        [a + b for a, b in zip(*rows, strict=True)] for rows in zip(first, second, strict=True)
    ]
    assert conv_rank(total) == 2
    assert conv_rank([[Fraction(0)] * 3] * 3) == 0


def test_the_moments_of_a_polynomial_sketch_by_simulation() -> None:
    rng = np.random.default_rng(7)
    x, y, r = np.array([0.6, 0.8, 0.0]), np.array([0.0, 0.6, 0.8]), 4
    c = x @ y
    g = rng.standard_normal((200_000, 2, r, 3))
    a, b = g @ x, g @ y
    z = np.mean(a[:, 0] * b[:, 0] * a[:, 1] * b[:, 1], axis=1)
    variance = ((1 + 2 * c * c) ** 2 - c**4) / r
    assert z.mean() == pytest.approx(c * c, abs=0.01)
    assert z.var() == pytest.approx(variance, rel=0.1)
    assert np.mean(z * z) == pytest.approx(c**4 + variance, rel=0.1)


def test_the_gradient_of_rotary_attention_by_a_complex_step() -> None:
    rng = np.random.default_rng(11)
    n, d, step = 5, 2, 1e-30
    q, k, v, t = rng.standard_normal((4, n, d))
    turns = [np.array([[np.cos(i), -np.sin(i)], [np.sin(i), np.cos(i)]]) for i in range(n)]

    def rotated(rows: np.ndarray) -> np.ndarray:
        return np.array([r @ row for r, row in zip(turns, rows, strict=True)])

    def loss(queries: np.ndarray) -> complex:
        e = np.exp(rotated(queries) @ rotated(k).T)
        return complex(np.sum(t * ((e / e.sum(axis=1, keepdims=True)) @ v)))

    p = softmax(rotated(q) @ rotated(k).T)
    u = t @ v.T
    g = p * (u - np.sum(p * u, axis=1, keepdims=True))
    claimed = np.array([r.T @ row for r, row in zip(turns, g @ rotated(k), strict=True)])
    for i, c in itertools.product(range(n), range(d)):
        moved = q.astype(complex)
        moved[i, c] += 1j * step
        assert loss(moved).imag / step == pytest.approx(claimed[i, c], rel=1e-10, abs=1e-12)


def test_the_jacobian_that_grows_like_the_root_of_n() -> None:
    many, step = 64, 1e-6
    root = np.sqrt(np.log(many))
    tokens = np.array([2 * root, *[root] * many])

    def outputs(x: np.ndarray) -> np.ndarray:
        return np.asarray(softmax(np.outer(x, x)) @ x)

    unit = np.eye(many + 1)[0]
    column = (outputs(tokens + step * unit) - outputs(tokens - step * unit)) / (2 * step)
    assert np.linalg.norm(column) >= np.sqrt(many) * (1 + np.log(many) / 2) / 2
    assert column[1] == pytest.approx((1 + np.log(many) / 2) / 2, rel=1e-6)


def test_the_mean_trace_after_one_random_pivot() -> None:
    rng = np.random.default_rng(13)
    root = rng.standard_normal((6, 6))
    k = root @ root.T
    chances = np.diag(k) / np.trace(k)
    left = [np.trace(k - np.outer(k[s], k[s]) / k[s, s]) for s in range(6)]
    assert chances @ left == pytest.approx(np.trace(k) - np.sum(k * k) / np.trace(k))
