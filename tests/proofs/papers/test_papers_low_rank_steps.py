"""Statements on the low-rank steps of Alman & Song and of Liang et al. come out as vouched for.

Their formulas agree with difference quotients of true softmax attention, and the figures that the
entries quote in words are computed here anew.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from verdicts import as_expected, theorems_of

from proofs_check.papers.aggarwal_alman_2022 import (
    domain_note,
    kernel_rank,
    leading_coefficients,
)
from proofs_check.papers.alman_song_2023 import low_rank
from proofs_check.papers.alman_song_2024 import (
    bounds,
    convention,
    derivative,
    exact_gradient,
    lemmas,
    low_rank_errors,
    lower_bound,
    second_derivative,
)
from proofs_check.papers.liang_2024 import (
    causal_gradient,
    composition,
    double_sums,
    entry_terms,
    gradient,
    low_rank_terms,
    published_code,
)
from proofs_check.statements.verdict import Status

PAPERS = (
    domain_note,
    kernel_rank,
    leading_coefficients,
    low_rank,
    bounds,
    convention,
    derivative,
    exact_gradient,
    lemmas,
    low_rank_errors,
    lower_bound,
    second_derivative,
    causal_gradient,
    composition,
    double_sums,
    entry_terms,
    low_rank_terms,
    published_code,
)
THEOREMS = theorems_of(PAPERS)


@pytest.mark.parametrize("key", THEOREMS)
def test_the_verdict_is_the_expected_one(key: str) -> None:
    """Every experiment decides, except a search for a counterexample to what is true."""
    theorem = THEOREMS[key]
    verdicts = as_expected(theorem)
    for experiment, verdict in zip(theorem.experiments, verdicts, strict=True):
        if verdict.status is Status.INCONCLUSIVE:
            assert type(experiment).__name__ == "Falsify"
            assert 0.9 < (verdict.tightness or 0) <= 1, "the search comes close to the bound"


# --- formulas against difference quotients --------------------------------------------------------


def _softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _slope(loss: Any, x: np.ndarray, direction: np.ndarray) -> float:
    h = 1e-6
    return float((loss(x + h * direction) - loss(x - h * direction)) / (2 * h))


def _inputs(seed: int, n: int = 5, d: int = 4) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {"x": (n, d), "g": (n, d), "zx": (n, d), **dict.fromkeys(("w", "v", "wg"), (d, d))}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("masked", [False, True])
def test_the_five_terms_with_a_mask_and_without(masked: bool) -> None:
    m = _inputs(1)
    hidden = np.triu(np.full((5, 5), -np.inf), 1) if masked else np.zeros((5, 5))

    def weights(x: np.ndarray) -> np.ndarray:
        return _softmax(x @ m["w"] @ x.T / 4 + hidden)

    def loss(x: np.ndarray) -> float:
        return float(np.sum(m["g"] * (weights(x) @ x @ m["v"])))

    found = gradient.five_terms({**m, "f": weights(m["x"]), "beta": 1 / 4})
    assert np.sum(found * m["zx"]) == pytest.approx(_slope(loss, m["x"], m["zx"]), rel=1e-6)


def test_the_gradient_of_several_heads() -> None:
    m, rng = _inputs(2), np.random.default_rng(3)
    heads = [
        (rng.normal(size=(4, 4)), rng.normal(size=(4, 2)), m["g"][:, c : c + 2]) for c in (0, 2)
    ]

    def loss(x: np.ndarray) -> float:
        outputs = [_softmax(x @ w @ x.T / 2) @ x @ v for w, v, _ in heads]
        return float(np.sum(m["g"] * np.concatenate(outputs, axis=1)))

    found = sum(
        gradient.five_terms(
            {
                "x": m["x"],
                "w": w,
                "v": v,
                "g": g,
                "beta": 1 / 2,
                "f": _softmax(m["x"] @ w @ m["x"].T / 2),
            }
        )
        for w, v, g in heads
    )
    assert np.sum(found * m["zx"]) == pytest.approx(_slope(loss, m["x"], m["zx"]), rel=1e-6)


def test_the_gradient_with_both_residual_connections() -> None:
    m = _inputs(4)

    def middle(x: np.ndarray) -> np.ndarray:
        return np.asarray(x + _softmax(x @ m["w"] @ x.T / 4) @ x @ m["v"])

    def loss(x: np.ndarray) -> float:
        z = middle(x)
        return float(np.sum(m["g"] * (z + np.tanh(z @ m["wg"]))))

    slope_of_phi = 1 - np.tanh(middle(m["x"]) @ m["wg"]) ** 2
    g = m["g"] + (m["g"] * slope_of_phi) @ m["wg"].T
    f = _softmax(m["x"] @ m["w"] @ m["x"].T / 4)
    found = g + gradient.five_terms({**m, "g": g, "f": f, "beta": 1 / 4})
    assert np.sum(found * m["zx"]) == pytest.approx(_slope(loss, m["x"], m["zx"]), rel=1e-6)


# --- figures quoted in words ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log2_n", "power", "error"),
    [
        (4, 1, 0.10745),
        (4, 2, 0.49740),
        (10, 1, 1.2794),
        (10, 2, 12.789),
        (20, 1, 327.68),
        (20, 2, 6552.2),
    ],
)
def test_the_gap_of_the_riemann_sum(log2_n: int, power: int, error: float) -> None:
    """In floats, and by f itself rather than by its derivative in closed form."""
    n, d, b, m = 2**log2_n, log2_n, log2_n**power, log2_n**4
    at = np.arange(m) / m

    def f(rate: np.ndarray) -> np.ndarray:
        return np.asarray(n * d / (1 + np.exp(-rate * b)) ** 2)

    h = 1e-6
    average = float(np.mean((f(at + h) - f(at - h)) / (2 * h)))
    assert abs(average - float(f(np.array(1.0)) - f(np.array(0.0)))) == pytest.approx(
        error, rel=1e-3
    )


def test_the_constant_of_the_second_derivative_is_nearly_the_least() -> None:
    o = (15 - math.sqrt(33)) / 24
    sharp = 2 * o**2 * (1 - o) * (2 - 3 * o)
    assert sharp == pytest.approx(0.15406, abs=5e-6)
    assert 1 < (31 / 200) / sharp < 1.007


@pytest.mark.parametrize(("log10_length", "omega", "quotient"), [(8, 10, 2.5), (400, 100, 50)])
def test_the_two_degree_formulas_differ(log10_length: int, omega: int, quotient: float) -> None:
    """Alternative reading of as23.degree: ln(L/R)/ln(L/R^2) with R^2 = L/omega^2."""
    log_l = log10_length * math.log(10)
    log_radius = log_l / 2 - math.log(omega)
    found = (log_l - log_radius) / (log_l - 2 * log_radius)
    assert found == pytest.approx(quotient, rel=0.02)


def test_quotients_of_the_leading_coefficients() -> None:
    assert [d / b for b, d in leading_coefficients.LONG] == pytest.approx(
        [1.1, 1.114, 1.1164, 1.11667], abs=1e-9
    )
    found = [d * math.log(length / b) / length for b, length, d, _ in leading_coefficients.SHORT]
    assert found == pytest.approx([1.23, 1.19, 1.15, 1.24, 1.18], abs=6e-3)
    mu = 2.233423063
    assert math.sqrt(1 + mu**2) + 1 == pytest.approx(mu * math.asinh(mu), abs=1e-8)
    assert mu / 2 == pytest.approx(1.116711, abs=1e-6)
