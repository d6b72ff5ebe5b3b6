"""Our own statements about sketched and pooled attention.

They are exact second moments, mean pooling, and a ceiling for Gaussian projections. The forms are
those of Linformer (see `theorem_1` of Wang et al. 2020, whose theorems they replace). P V is
approximated by P R^T R V, or softmax(w) V by attention to k combinations of keys and values.
Nothing here is a quotation.

    A (m, n), B (n, q)   the two factors; a_j the columns of A, b_j the rows of B
    R (k, n)             entries r/sqrt(k), i.i.d., E r = 0, E r^2 = 1, E r^4 = mu4
    w, p, o              scores of one query, p = softmax(w), o = p V
    osc(V)               max - min of a column of V
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.shared import softmax_shift as shift
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import (
    Comparison,
    Enclose,
    Falsify,
    Identity,
    Instance,
    Symbolic,
)
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

# --- second moment of a sketched product ----------------------------------------------------------
# 1. One row r has E r_a r_b r_c r_d = d_ab d_cd + d_ac d_bd + d_ad d_bc + (mu4 - 3) d_abcd.
# 2. So E|A r r^T B|^2 = |A|^2 |B|^2 + 2 |AB|^2 + (mu4 - 3) sum_j |a_j|^2 |b_j|^2, and the mean is A
#    B.
# 3. k independent rows divide the variance by k.


def _sizes() -> tuple[tuple[int, int, int, int], ...]:
    return ((1, 3, 1, 2), (2, 2, 2, 1), (2, 2, 1, 2), (1, 2, 2, 3))  # (m, n, q, k)


def _expectation(polynomial: Any, random: int, mu4: Any) -> Any:
    """Replace the monomials of the first `random` generators (independent, odd moments zero) by
    their expectation.
    """
    moments = {0: 1, 2: 1, 4: mu4}
    total = polynomial.ring.zero
    for exponents, coefficient in polynomial.terms():
        if any(e % 2 for e in exponents[:random]):
            continue
        rest = polynomial.ring.from_dict({(0,) * random + exponents[random:]: coefficient})
        for e in exponents[:random]:
            rest = rest * moments[e]
        total += rest
    return total


def _second_moments(kurtosis: int = 3) -> Iterator[Identity]:
    from sympy import QQ, ring

    for m, n, q, k in _sizes():
        names = [
            *(f"r{i}" for i in range(k * n)),
            *(f"a{i}" for i in range(m * n)),
            *(f"b{i}" for i in range(n * q)),
            "mu4",
        ]
        _, *symbols = ring(names, QQ)
        r = np.array(symbols[: k * n], dtype=object).reshape(k, n)
        a = np.array(symbols[k * n : k * n + m * n], dtype=object).reshape(m, n)
        b = np.array(symbols[k * n + m * n : -1], dtype=object).reshape(n, q)
        mu4 = symbols[-1]
        difference = a @ r.T @ r @ b - k * (a @ b)  # k times the error, R = r / sqrt(k)
        measured = _expectation(np.sum(difference * difference), k * n, mu4)
        columns, rows = np.sum(a * a, axis=0), np.sum(b * b, axis=1)
        squares = (
            np.sum(a * a) * np.sum(b * b)
            + np.sum((a @ b) ** 2)
            + (mu4 - kurtosis) * np.sum(columns * rows)
        )
        yield Identity(measured, k * squares, f"m, n, q, k = {m}, {n}, {q}, {k}")


def _sampled_products() -> Iterator[Identity]:
    """Column sampling: draw j with probability q_j, estimate a_j b_j / q_j; every one of the n^k
    samples enumerated.
    """
    a = ((1, 2, -1), (0, 3, 1))  # (m, n)
    b = ((1, 0), (2, -1), (1, 4))  # (n, q)
    outer = [[[Fraction(x[j] * y) for y in b[j]] for x in a] for j in range(3)]
    exact = [
        [sum((outer[j][i][c] for j in range(3)), Fraction(0)) for c in range(2)] for i in range(2)
    ]
    sizes = [sum(x[j] ** 2 for x in a) * sum(y**2 for y in b[j]) for j in range(3)]
    for chances, k in itertools.product(((1, 1, 1), (1, 2, 3), (5, 1, 2)), (1, 2, 3)):
        prob = [Fraction(c, sum(chances)) for c in chances]
        measured = Fraction(0)
        for drawn in itertools.product(range(3), repeat=k):
            weight = Fraction(1)
            for j in drawn:
                weight *= prob[j]
            error = [
                [
                    sum((outer[j][i][c] / prob[j] for j in drawn), -k * exact[i][c]) / k
                    for c in range(2)
                ]
                for i in range(2)
            ]
            measured += weight * sum((x * x for row in error for x in row), Fraction(0))
        claimed = (
            sum(s / p for s, p in zip(sizes, prob, strict=True))
            - sum(x * x for row in exact for x in row)
        ) / k
        yield Identity(measured, claimed, f"weights {chances}, k = {k}")


SECOND_MOMENT = Theorem(
    key="ours.sketch-second-moment",
    title="exact mean squared error of a sketched product",
    statement=(
        "E‖A RᵀR B - AB‖_F² = (‖A‖_F² ‖B‖_F² + ‖AB‖_F² + (μ₄ - 3) Σ_j ‖a_j‖² ‖b_j‖²) / k; "
        "for k columns drawn with probabilities q_j it is (Σ_j ‖a_j‖² ‖b_j‖² / q_j - ‖AB‖_F²) / k."
    ),
    source=here(__name__, how="fourth moments of independent entries"),
    reading=(
        "R with i.i.d. entries r/√k, E r = 0, E r² = 1, E r⁴ = μ₄ (Gaussian 3, Rademacher 1), odd "
        "moments up to the third irrelevant"
    ),
    experiments=(
        Symbolic(
            identities=_second_moments,
            covers="statement",
            scope="all A, B and μ₄ at (m, n, q, k) = (1,3,1,2), (2,2,2,1), (2,2,1,2), (1,2,2,3)",
        ),
        Symbolic(
            identities=_sampled_products,
            grade="exact-rational",
            covers="statement",
            scope="column sampling of one 2x3 by 3x2 product, three weightings, k = 1, 2, 3",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_second_moments, kurtosis=2),
        covers="statement",
        scope="μ₄ - 2 in place of μ₄ - 3",
    ),
    remarks=(
        "The Linformer form P RᵀR V has relative error √((κ² + 1)/k) with κ = ‖P‖_F ‖V‖_F / "
        "‖PV‖_F.",
    ),
)

# --- mean pooling ---------------------------------------------------------------------------------


def _pooling(kept: bool = True) -> list[Identity]:
    """Blocks {0}, {1, 2, 3} with pooled scores s_b: weights m_b e^{s_b} on the block means of V are
    attention over all keys with every score replaced by that of its block. e^{s_b} stands as an
    indeterminate x_b.
    """
    from sympy import symbols

    x0, x1, *v = symbols("x0 x1 v0 v1 v2 v3", positive=True)
    size = 3 if kept else 1
    pooled = (x0 * v[0] + size * x1 * (v[1] + v[2] + v[3]) / 3) / (x0 + size * x1)
    replaced = (x0 * v[0] + x1 * v[1] + x1 * v[2] + x1 * v[3]) / (x0 + 3 * x1)
    return [Identity(pooled, replaced, "pooled output"), *shift.largest_shift()]


def _pooled(instance: Instance) -> tuple[list[int], list[float]]:
    """Block of each key, and the mean key of each block, for blocks of `block` keys (d = 1)."""
    keys, block = instance["keys"], instance["block"]
    blocks = [j // block for j in range(len(keys))]
    groups = [
        [k for k, b in zip(keys, blocks, strict=True) if b == c] for c in range(blocks[-1] + 1)
    ]
    return blocks, [sum(g) / len(g) for g in groups]


def _pool_instances() -> Any:
    from hypothesis import strategies as st

    from proofs_check.arithmetic.instances import numbers

    return st.integers(2, 6).flatmap(
        lambda n: st.fixed_dictionaries(
            {
                "query": numbers(),
                "keys": st.lists(numbers(), min_size=n, max_size=n),
                "values": st.lists(numbers(), min_size=n, max_size=n),
                "block": st.integers(2, 4),
            }
        )
    )


def _confirm_pooling(instance: Instance) -> tuple[Any, Any]:
    from flint import arb

    blocks, _ = _pooled(instance)
    keys = [arb(k) for k in instance["keys"]]
    groups = [
        [k for k, b in zip(keys, blocks, strict=True) if b == c] for c in range(blocks[-1] + 1)
    ]
    means = [sum(g, arb(0)) / len(g) for g in groups]
    q, values = arb(instance["query"]), instance["values"]
    exact = shift.attend([q * k for k in keys], values)
    pooled = shift.attend([q * means[b] for b in blocks], values)
    eta = max((abs(q) * abs(k - means[b]) for k, b in zip(keys, blocks, strict=True)), key=float)
    spread = arb(max(values)) - arb(min(values))
    return abs(pooled - exact), spread * (eta / 2).tanh()


def _pooling_error(instance: Instance) -> float:
    measured, bound = (float(x) for x in _confirm_pooling(instance))
    # 0 <= 0 says nothing about tightness
    return measured if bound > 0 or measured > 1e-12 else float("nan")


def _pooling_bound(instance: Instance) -> float:
    return float(_confirm_pooling(instance)[1])


MEAN_POOL = Theorem(
    key="ours.mean-pool",
    title="error of mean-pooled attention",
    statement=(
        "|õ - o| <= osc(V) tanh(η/2), η = β max_j |q·(k_j - k̄_{b(j)})|, for blocks b of m_b keys "
        "with means k̄_b, v̄_b weighted by m_b exp(β q·k̄_b)."
    ),
    source=here(__name__, how="the tanh lemma applied to scores moved by at most η"),
    reading=(
        "one query, one column of V, blocks of any sizes; without the factor m_b only for blocks "
        "of one size"
    ),
    experiments=(
        Symbolic(
            identities=_pooling,
            covers="statement",
            scope=(
                "two blocks of 1 and 3 keys, all scores and values; the tanh lemma for all scores"
            ),
        ),
        Falsify(
            instances=_pool_instances,
            measured=_pooling_error,
            bound=_pooling_bound,
            confirm=_confirm_pooling,
            tries=200,
            covers="statement",
            scope="up to 6 keys, d = 1, blocks of 2 to 4 keys",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_pooling, kept=False), covers="statement", scope="block sizes left out"
    ),
    uses=("ours.tanh",),
)

# --- a ceiling for Gaussian projections -----------------------------------------------------------
# 1. Let Q = 0 and V = 1: exact attention is 1.
# 2. softmax(w E^T) F V with E = delta R, F = e^-delta R is (e^-delta / k) 1^T R 1 = Z / x, Z
#    standard
#    normal and x = k e^delta / sqrt(n).
# 3. |Z / x - 1| <= 1/2 has probability Phi(3x/2) - Phi(x/2), whatever n, k and delta.

_EDGE = 64  # beyond it Phi(x/2) > 1 - 10^-200


def _success(x: Any) -> Any:
    from flint import arb

    root = arb(2).sqrt()
    return ((3 * x / 2 / root).erf() - (x / 2 / root).erf()) / 2


def _ceiling(x: Any) -> Any:
    from flint import arb, fmpq

    return x * 0 + arb(fmpq(2422, 10_000))


def _too_low(x: Any) -> Any:
    from flint import arb, fmpq

    return x * 0 + arb(fmpq(2421, 10_000))


def _beyond(_bits: int) -> list[Comparison]:
    from flint import arb, fmpq

    # Phi(3x/2) - Phi(x/2) <= 1 - Phi(x/2), decreasing
    tail = (arb(_EDGE) / 2 / arb(2).sqrt()).erfc() / 2
    return [Comparison(tail, fmpq(2422, 10_000), f"x >= {_EDGE}")]


CEILING = Theorem(
    key="ours.projection-ceiling",
    title="Gaussian projections inside the softmax fail with probability 3/4",
    statement=(
        "For Q = 0, V = 1 and E = δR, F = exp(-δ)R with Gaussian R: Pr(|softmax(wEᵀ)FV - "
        "softmax(w)V| <= 1/2) <= 0.2422 for every n, k and δ."
    ),
    source=here(__name__, how="the output is N(0, n exp(-2δ)/k²)-distributed"),
    reading="R of shape (k, n) with i.i.d. N(0, 1/k) entries; ε = 1/2, where ‖softmax(w)‖ ‖V‖ = 1",
    experiments=(
        Enclose(
            lhs=_success,
            rhs=_ceiling,
            box=((0, _EDGE),),
            covers="statement",
            scope="k exp(δ)/√n in [0, 64]",
        ),
        Enclose(certify=_beyond, covers="statement", scope="k exp(δ)/√n >= 64"),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        lhs=_success,
        rhs=_too_low,
        box=((0, _EDGE),),
        covers="statement",
        scope="0.2421 in place of 0.2422",
    ),
)

THEOREMS = (SECOND_MOMENT, MEAN_POOL, CEILING)
