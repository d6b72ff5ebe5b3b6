"""Statements that were argued by steps and are decided now, and the inequalities they share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from verdicts import as_expected, theorems_of

from proofs_check.arithmetic.balls import lower
from proofs_check.checkers import check
from proofs_check.papers.halko_2011 import gaussian_matrices, structural, tails_and_powers
from proofs_check.papers.li_yip_2024 import tables
from proofs_check.papers.ours import gradient_layer, gradient_row, layers, layers_gradient
from proofs_check.papers.ours.estimators import audit, eckart_young, kept_keys, random_features
from proofs_check.papers.wang_2020 import row_submatrix, small_delta_and_norms
from proofs_check.papers.zeng_2021 import bias_and_ends, shape
from proofs_check.statements.verdict import Status

PAPERS = (
    gaussian_matrices,
    structural,
    tails_and_powers,
    audit,
    eckart_young,
    gradient_row,
    kept_keys,
    layers,
    layers_gradient,
    random_features,
    row_submatrix,
    small_delta_and_norms,
    bias_and_ends,
    shape,
    tables,
)
THEOREMS = theorems_of(PAPERS)


@pytest.mark.parametrize("key", THEOREMS)
def test_the_verdict_is_the_expected_one(key: str) -> None:
    as_expected(THEOREMS[key])


@pytest.mark.parametrize("key", [k for k, t in THEOREMS.items() if t.expected is Status.PROVED])
def test_what_is_proved_does_not_rest_on_steps(key: str) -> None:
    theorem = THEOREMS[key]
    whole = [e for e in theorem.experiments if e.covers == "statement"]
    assert any(check(e, rng_seed=4).status is Status.PROVED for e in whole)


# --- the inequalities of `rows`, in floats and from their definitions -----------------------------


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(17)


def test_a_row_that_sums_to_zero_sees_half_the_oscillation(rng: np.random.Generator) -> None:
    for n in (2, 3, 7):
        p = rng.standard_normal((500, n))
        p -= p.mean(axis=1, keepdims=True)
        x = rng.standard_normal((500, n))
        bound = np.abs(p).sum(axis=1) * np.ptp(x, axis=1) / 2
        assert np.all(np.abs((p * x).sum(axis=1)) <= bound * (1 + 1e-12))
        np.testing.assert_allclose((p * np.sign(p)).sum(axis=1), np.abs(p).sum(axis=1))


def test_ratios_of_weights_stay_between_the_ends(rng: np.random.Generator) -> None:
    f = rng.dirichlet(np.ones(4), 500)
    w = np.exp(rng.standard_normal((500, 4)))
    ratio = w / (f * w).sum(axis=1, keepdims=True)
    rho = (w.max(axis=1) / w.min(axis=1))[:, None]
    assert np.all(ratio <= rho * (1 + 1e-12))
    assert np.all(ratio * rho >= 1 - 1e-12)
    assert np.all(np.abs(ratio - 1) <= rho - 1 + 1e-12)


def test_mean_distance_from_the_mean_is_half_the_oscillation_at_most(
    rng: np.random.Generator,
) -> None:
    f, x = rng.dirichlet(np.ones(5), 500), rng.standard_normal((500, 5))
    away = (f * np.abs(x - (f * x).sum(axis=1, keepdims=True))).sum(axis=1)
    assert np.all(away <= np.ptp(x, axis=1) / 2 * (1 + 1e-12))


# --- witnesses that bounds are nearly attained ----------------------------------------------------


@pytest.mark.parametrize("part", ["weights", "values", "tokens"])
def test_gradient_bounds_of_a_layer_are_nearly_attained(part: str) -> None:
    error, bound = gradient_layer._worst(gradient_layer._EXTREMAL[part], part)
    assert lower(error / bound) > 0.99
    assert not error > bound


def test_three_keys_stay_well_below_a_quarter(rng: np.random.Generator) -> None:
    """The largest E|W| of three keys, 1/(3 sqrt 3), is that of two."""
    f = rng.dirichlet(np.ones(3), 20_000).T
    sizes = []
    for a, b in (((1, 0, 0), (1, 0, 0)), ((1, 0, 0), (0, 1, 0))):
        x, y = (np.array(s)[:, None] - (f * np.array(s)[:, None]).sum(axis=0) for s in (a, b))
        w = x * y - (f * x * y).sum(axis=0)
        sizes.append((f * np.abs(w)).sum(axis=0).max())
    assert 0.19 < max(sizes) <= 1 / (3 * math.sqrt(3)) + 1e-12


# --- numbers of remarks ---------------------------------------------------------------------------


def test_the_rates_named_beside_equation_11() -> None:
    text = " ".join(small_delta_and_norms.NORM.remarks)
    for eps, digits in ((0.1, ("0.00969", "0.00225")), (0.01, ("9.967e-5", "2.475e-5"))):
        exact = eps + eps**2 / 2 - math.log1p(eps)
        assert exact == pytest.approx(eps**2 - eps**3 / 3 + eps**4 / 4, rel=eps**3)
        for rate, printed in zip((exact, (eps**2 - eps**3) / 4), digits, strict=True):
            assert printed in text
            assert rate == pytest.approx(float(printed), rel=1e-3)


def test_loss_of_a_range_finder_with_one_column_to_spare(rng: np.random.Generator) -> None:
    """|A^T x| for the normal x of A Omega, against a projection made of an orthogonal basis."""
    sigma = np.array([5.0, 3.0, 1.0, 0.5])
    omega = rng.standard_normal((4, 3))
    q, _ = np.linalg.qr(sigma[:, None] * omega)
    lost = np.linalg.norm(np.diag(sigma) - q @ (q.T * sigma))
    minors = [(-1) ** i * np.linalg.det(np.delete(omega, i, axis=0)) for i in range(4)]
    h = np.array(minors) / np.linalg.norm(minors)
    assert lost == pytest.approx(1 / math.sqrt((h**2 / sigma**2).sum()))
