"""What the shipped heads do with the criteria of the field: balls against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from verdicts import as_expected

from approxattn.data import minilm_heads
from proofs_check.papers import han_2023, zandieh_2024
from proofs_check.papers.han_2023 import criterion
from proofs_check.papers.shared.shipped_heads import heads, largest_singular_value, stretch
from proofs_check.papers.tzachristas_2025 import real_heads
from proofs_check.papers.zandieh_2024 import streaming

THEOREMS = {
    theorem.key: theorem
    for paper in (han_2023, zandieh_2024, real_heads)
    for theorem in paper.THEOREMS
}
SHIPPED = minilm_heads()
PLACES = [(a, b) for a in range(len(SHIPPED.layers)) for b in range(len(SHIPPED.heads))]


@pytest.mark.parametrize("key", THEOREMS)
def test_the_verdict_is_the_expected_one(key: str) -> None:
    as_expected(THEOREMS[key])


def row_weights(place: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """P and V of one head in double precision."""
    q, k, v = (x[place].astype(float) for x in (SHIPPED.q, SHIPPED.k, SHIPPED.v))
    e = np.exp(q @ k.T / np.sqrt(q.shape[1]))
    return e / e.sum(axis=1, keepdims=True), v


@pytest.mark.parametrize("number", range(len(PLACES)))
def test_the_figures_come_out_of_floats(number: int) -> None:
    p, v = row_weights(PLACES[number])
    value = np.linalg.norm(v, 2)
    ratio = np.linalg.norm(p @ v, 2) / (np.linalg.norm(p, 2) * value)
    accepted = float(criterion.ACCEPTED[number])
    assert 0.95 * accepted < ratio <= accepted
    alpha = len(p) * np.max(np.sum(p * p, axis=0))
    assert criterion.ALPHA[number] <= alpha < criterion.ALPHA[number] + 1
    rows = np.linalg.norm(p @ v, axis=1) <= np.linalg.norm(p, axis=1) * value / 2
    assert np.count_nonzero(rows) == streaming.PASS[number]
    tails = 1 - np.cumsum(-np.sort(-p, axis=1), axis=1)
    assert 1 + np.max(np.sum(tails > 0.1, axis=1)) == real_heads.ENOUGH[number]


def test_norms_in_balls_enclose_those_in_floats() -> None:
    from proofs_check.arithmetic.balls import precision

    with precision(96):
        head = next(heads())
        low, high = (float(x) for x in largest_singular_value(head.values))
        below = float(stretch(head))
    p, v = row_weights(PLACES[0])
    assert low <= np.linalg.norm(v, 2) * (1 + 1e-12)
    assert high >= np.linalg.norm(v, 2) * (1 - 1e-12)
    assert high / low < 1 + 1e-4
    assert 0.99 * np.linalg.norm(p, 2) < below <= np.linalg.norm(p, 2) * (1 + 1e-12)
