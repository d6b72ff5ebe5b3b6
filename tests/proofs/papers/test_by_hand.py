"""Every refuted statement has a witness in words, and every number in those words is right:
computed here anew, without the checkers.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest

from proofs_check import catalogue
from proofs_check.report import mathml
from proofs_check.statements.verdict import Status

REFUTED = {
    k: t
    for k, t in catalogue.theorems(timed=True).items()
    if t.expected is Status.REFUTED and not catalogue.is_control(k)
}
BY_HAND = {k: t.by_hand for k, t in REFUTED.items() if t.by_hand is not None}


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def slope(f: Callable[[float], float], at: float = 0.0) -> float:
    return (f(at + 1e-5) - f(at - 1e-5)) / 2e-5


def normal_tail(x: float) -> float:
    return math.erfc(x / math.sqrt(2)) / 2


def degree_next_to_b() -> list[float]:
    length = 1 + 2.0**-24
    middle = (1 + math.exp(-1)) / 2
    return [
        math.exp(-length),
        middle,
        1 - middle,
        2**24 * (length / math.log1p(2.0**-24) / 2**24),
        2**-20 * length / math.log1p(2.0**-24),
    ]


def least_degree() -> list[float]:
    log_radius = 40 * math.log(2)
    # m = n + 1 = 10 b and m ln(b/2) - ln m! = m (ln(1/20) + 1) + O(ln m): (e/20)^(10 b).
    return [
        log_radius,
        log_radius / (log_radius + math.log(log_radius)),
        (math.e / 20) ** 10,
        math.e / 2**40,
    ]


def printed_gradient() -> tuple[float, float]:
    """The true slope and the printed one, which leaves the factor 1/d out."""
    a1, a2, h = (np.zeros((2, 2)) for _ in range(3))
    a1[0, 0] = a2[1, 0] = h[1, 0] = 1

    def loss(x: float) -> float:
        f = softmax(a1 @ np.array([[x, 0], [0, 0]]) @ a2.T / 2)
        return float(((f @ h) ** 2).sum() / 2)

    f = np.full((2, 2), 0.5)
    c = f @ h
    q = c @ h.T
    p = f * (q - (f * q).sum(axis=1, keepdims=True))
    return slope(loss), float((a1.T @ p @ a2)[0, 0])


def mixed_convention() -> float:
    """The slope where q = h c^T is read by rows and p_2 = f diag(r) by columns."""
    f = np.full((2, 2), 0.5)
    h = np.array([[0.0, 0], [1, 0]])
    q = h @ (f @ h).T
    r = (f * q).sum(axis=1)
    np.testing.assert_allclose(r, [0, 1 / 2])
    return float((f * q - f * r)[0, 1]) / 2  # d = 2


def riemann_points(n: int, columns: int, size: int, points: int) -> list[float]:
    """f(1) - f(0), and by how much the average of f' over the points is off."""

    def sigma(x: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-size * x)))

    at = np.arange(points) / points
    slopes = 2 * size * sigma(at) ** 2 * (1 - sigma(at))
    change = float(sigma(np.ones(1))[0] ** 2 - 1 / 4)
    return [n * columns * change, n * columns * abs(float(slopes.mean()) - change)]


def derivative_of_squares(columns: int) -> float:
    scores, values = (
        np.array([[0.0, 1.0], [0.0, 1.0]]),
        np.array([[0.0], [1.0]]) * np.ones((1, columns)),
    )
    return slope(lambda rate: float(((softmax(rate * scores) @ values) ** 2).sum()), math.log(2))


def rank_of_sharp_attention() -> list[float]:
    i = np.arange(1, 17)
    x = np.stack([i, i**2, np.ones(16)], axis=1)
    w = np.zeros((3, 3))
    w[0, 0], w[2, 1] = 8, -4
    scores = x @ w @ x.T
    f = softmax(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(scores, 4 * (2 * np.outer(i, i) - i[None, :] ** 2))
    trace, size = np.trace(f) - 1, ((f + 1 / 16) ** 2).sum()
    return [np.trace(f), trace, size, trace**2 / size]


def printed_input_gradient() -> tuple[float, float]:
    x, g = np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]])

    def loss(first: float) -> float:
        moved = np.array([[first], [0.0]])
        return float((softmax(moved @ moved.T) @ moved)[1, 0])

    f = softmax(x @ x.T)
    k = np.diag((g * (f @ x)).sum(axis=1))
    terms = -k @ f @ x + (f * (g @ x.T)) @ x - f @ k @ x + (f * (x @ g.T)) @ x + f @ g
    return slope(loss, 1.0), float(terms[0, 0])


def cubic(x: float) -> float:
    return 1 + x + x**2 / 2 + x**3 / 6


SCORES, VALUES = (-3, -3, -3, 0.5), (1, 2, 3, 10)
NORMAL = NormalDist()
THRICE = list(itertools.product(range(3), repeat=3))


def normal_budget() -> list[float]:
    """Spread and budget of 99 keys of weight 1 and one of 2, and what 11 draws do."""
    spread, quantile = math.sqrt(0.0099), NORMAL.inv_cdf(0.995)
    budget = (quantile * 100 * spread / 8) ** 2
    return [spread, quantile, budget, 100 / 11 - 1, 1 - 0.99**11]


CLAIMED = 1 - 1024 * math.exp(-250 / 32)
DEVIATION = math.exp(-(2.0**-10)) * math.sqrt(512) / 250
UNIT = [float(x) for x in np.array([1, 4], np.float32) / np.sqrt(np.float32(17))]

NUMBERS: dict[str, list[float]] = {
    "aa22.degree-formula": [*degree_next_to_b()[:3], degree_next_to_b()[4]],
    "as23.normaliser-free": [float(Fraction(35, 29) - 1), 6 / 29, 6 / 32],
    "as23.halved-constant": [abs((1.5 - 1) / 2.5 - (1 - 2) / 3)],
    "as23.degree": least_degree(),
    "as24.derivative-printed": [derivative_of_squares(28)],
    "as24.riemann-points": [
        *riemann_points(16, 4, 4, 256),
        1 / 256,
        riemann_points(2**20, 20, 20, 20**4)[1],
        20.0**-4,
    ],
    "lss24.bounded-entries": rank_of_sharp_attention(),
    "lss24.activation": [10**6 * 2.0**-29],
    "lss24.gradient-t-printed": [printed_input_gradient()[1]],
    "lss24.code-normaliser": [4 / 8 + 4 / 2],
    "sata.odd-degree": [cubic(0.5), sum(map(cubic, SCORES))],
    "sata.convex-hull": [
        sum(map(cubic, SCORES)),
        sum(cubic(s) * v for s, v in zip(SCORES, VALUES, strict=True)),
        sum(cubic(s) * v for s, v in zip(SCORES, VALUES, strict=True)) / sum(map(cubic, SCORES)),
    ],
    "linformer.theorem-1": [CLAIMED],
    "linformer.theorem-2": [DEVIATION, 0.5 / DEVIATION, normal_tail(0.5 / DEVIATION), CLAIMED],
    "linformer.lemma-1-product": [1 - 2 * math.exp(-64 / 32)],
    "linformer.unnormalised": [math.sqrt(512), 1 - 2 * math.exp(-250 / 32)],
    "linformer.sum-of-row-norms": [2 * math.sqrt(2)],
    "yoso.l2-hoeffding": [2 * math.exp(-2 * 1 * 2**2 / 4)],
    "yoso.float32-domain": [*UNIT, sum(x * x for x in UNIT)],
    "yoso.hadamard-collision": [(1 - 2 / 3) ** 4],
    "bert-lsh.flops": [5.12 * 2],
    "vattention.normal-budget": normal_budget(),
    "vattention.code-quantile": [NORMAL.inv_cdf(0.95), 2 * (1 - NORMAL.cdf(NORMAL.inv_cdf(0.95)))],
    "vattention.code-duplicates": [sum(len(set(d)) for d in THRICE) / 27],
    "vattention.denominator-only": [0.5],
}
"""In the order of the text: those of its decimals that are results."""


def test_every_refuted_statement_has_one() -> None:
    assert sorted(REFUTED.keys() - BY_HAND.keys()) == [], "add by_hand=ByHand(...) to the theorem"


@pytest.mark.parametrize("key", NUMBERS)
def test_the_numbers_of_the_text_are_right_to_the_digits_given(key: str) -> None:
    """Each number appears in the text, rounded as it is there."""
    text = f"{BY_HAND[key].instance} {BY_HAND[key].shows}"
    printed = [
        p
        for p in re.findall(r"-?\d+(?:\.\d+)?(?:e-\d+)?", text)
        if "." in p or key == "aa22.degree-formula"
    ]
    for number in NUMBERS[key]:
        assert any(_rounds_to(float(number), p) for p in printed), (
            f"{number} is not among {printed}"
        )


def _rounds_to(number: float, printed: str) -> bool:
    mantissa, _, exponent = printed.partition("e")
    digits = len(mantissa.partition(".")[2])
    scale = 10.0 ** int(exponent or 0)
    return abs(number - float(printed)) <= 0.5001 * 10.0**-digits * scale


def test_gradients_of_the_texts() -> None:
    assert printed_gradient() == pytest.approx((1 / 16, 1 / 8), abs=1e-9)
    assert mixed_convention() == pytest.approx(-1 / 8)
    assert printed_input_gradient()[0] == pytest.approx(1 / 2, abs=1e-9)
    f = softmax(np.log(3) * np.outer([1, 0], [1, 0]))
    np.testing.assert_allclose(f, [[3 / 4, 1 / 4], [1 / 2, 1 / 2]])
    assert (f @ [0, 1])[0] == pytest.approx(1 / 4)  # X^T f G
    assert (f.T @ [0, 1])[0] == pytest.approx(1 / 2)  # X^T f^T G


def test_matrices_of_the_texts() -> None:
    rows = np.array([[1, 2], [2, 3], [1024, 1025]])
    np.testing.assert_array_equal([-1022, 1023] @ rows[:2], rows[2])
    assert round(math.hypot(1022, 1023)) == 1446
    assert np.linalg.norm(np.linalg.solve(rows[:2].T, [2**20, 2**20 + 1])) > 10**6
    assert round(riemann_points(2**20, 20, 400, 20**4)[1]) == 6552
    e = np.array([[2, 1], [1, 1]])
    assert (e / e.sum(axis=0)).sum(axis=1)[0] == pytest.approx(2 / 3 + 1 / 2)
    assert np.float32(sum(x * x for x in UNIT)) == np.float32(1 + 2.0**-23)
    assert 20 * 2 * 64 * 2 * 2 == 10240
    a1, x, a2 = np.array([[0, 1], [0, 0]]), np.array([[0, 0], [4, 0]]), np.array([[1, 0], [0, 0]])
    assert not (a1.T @ x).any()
    np.testing.assert_array_equal(a1 @ x @ a2.T / 2, [[2, 0], [0, 0]])
    np.testing.assert_array_equal(
        np.ones((2, 2)) @ np.eye(2) @ np.ones((2, 2)).T, np.full((2, 2), 2)
    )


def test_two_keys_that_share_a_hash() -> None:
    outcomes = [(0, 0), (2, 2)]  # both collide or none, each with probability 1/2; Y = 1
    assert sum((sum(o) / 2 - 1) ** 2 for o in outcomes) / 2 == 1


def test_no_hadamard_code_of_all_rows_collides_beyond_a_right_angle() -> None:
    h = np.array([[(-1) ** (i & j).bit_count() for j in range(4)] for i in range(4)])
    rng = np.random.default_rng(1)
    draws = list(itertools.product((1, -1), repeat=4))
    for first, second, third in zip(
        rng.permutation(draws), rng.permutation(draws), rng.permutation(draws), strict=True
    ):
        m = (h * third) @ (h * second) @ (h * first)
        np.testing.assert_array_equal(m.T @ m, 64 * np.eye(4))


@pytest.mark.parametrize("t", [0.01, 0.5, 1.9])
def test_what_is_true_of_the_reported_error(t: float) -> None:
    rng = np.random.default_rng(2)
    y = rng.standard_normal((200, 3))
    step = rng.standard_normal((200, 3))
    norm = np.linalg.norm
    x = y + t * norm(y, axis=1, keepdims=True) * step / norm(step, axis=1, keepdims=True)
    reported = norm(x - y, axis=1) / norm(x + y, axis=1)
    assert np.all(reported >= t / (2 + t) - 1e-12)
    assert np.all(reported <= t / (2 - t) + 1e-9)


def test_the_lines_can_be_typeset() -> None:
    for hand in BY_HAND.values():
        for text in (hand.instance, hand.shows, hand.instead):
            assert mathml.html(text).count("<math>") == mathml.html(text).count("</math>")
