"""The structural bound of Halko et al. 2011, and what powers of A A^T do to a loss.

Letters: `range_finder`. W stands for Omega_1^+, any matrix with Omega_1 W = 1.

Structural bound, A = diag(Sigma_1, Sigma_2) and Y = A Omega:

1. A - Y [W, 0] has the blocks 0 and 0 above, -Sigma_2 Omega_2 W and Sigma_2 below.
2. (1 - P) Y = 0, so (1 - P) A = (1 - P)(A - Y [W, 0]), and 1 - P shortens no column.
3. So |(1 - P) A|^2 <= |[-Sigma_2 Omega_2 W, Sigma_2]|^2, at most the sum of the squares of both
   blocks in the Frobenius norm and in the spectral norm.

Powers, for 1 - P = x x^T with a unit vector x, w_i = x_i^2 and a_i = sigma_i^2:

4. |(1 - P) A|_2^2 = sum_i w_i a_i, and |(1 - P)(A A^T)^q A|_2^2 = sum_i w_i a_i^{2q+1}.
5. So the claim is (sum w a)^{2q+1} <= sum w a^{2q+1}, the inequality of power means.
6. For q = 1, two values a, b and m = w a + (1 - w) b:
       w a^3 + (1 - w) b^3 - m^3 = w (1 - w)(a - b)^2 (a + b + m).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.halko_2011.source import CITATION
from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.shared.softmax_gradient import Matrix, residues
from proofs_check.statements.experiment import Assumption, Falsify, Identity, Instance, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

_SIZES = ((1, 2, 3), (1, 3, 4), (2, 3, 5), (2, 4, 5))
"""Rank r, columns l of Omega, size n of A."""


def _inverse(m: Matrix) -> Matrix:
    """The inverse of a 1 x 1 or 2 x 2 matrix."""
    if len(m) == 1:
        return np.array([[m[0, 0] ** -1]], dtype=object)
    (a, b), (c, d) = m.tolist()
    adjugate = np.array([[d, -b], [-c, a]], dtype=object)
    return np.asarray(adjugate * (a * d - b * c) ** -1)


def _blocks(rng: np.random.Generator) -> Iterator[Identity]:
    """Step 1, with W = Omega_1^T (Omega_1 Omega_1^T)^{-1}."""
    source = residues(rng)
    for r, l, n in _SIZES:
        sigma, omega = source("sigma", 1, n)[0], source("Omega", n, l)
        first, second = omega[:r], omega[r:]
        right = first.T @ _inverse(first @ first.T)
        a = np.array([[s if i == j else 0 * s for j in range(n)] for i, s in enumerate(sigma)])
        left = a - np.concatenate([a @ omega @ right, 0 * a[:, r:]], axis=1)
        claimed = 0 * a
        claimed[r:, :r] = -sigma[r:, None] * (second @ right)
        claimed[r:, r:] = a[r:, r:]
        for i in range(n):
            for j in range(n):
                yield Identity(left[i, j], claimed[i, j], f"r, l, n = {r, l, n}, entry {i}, {j}")


# --- one column of Omega: everything is rational --------------------------------------------------


def _columns() -> Any:
    from hypothesis import strategies as st

    def of_size(n: int) -> Any:
        numbers = st.lists(st.integers(0, 9), min_size=n, max_size=n)
        signed = st.lists(st.integers(-9, 9), min_size=n, max_size=n)
        return st.fixed_dictionaries({"sigma": numbers, "omega": signed})

    return st.integers(2, 4).flatmap(of_size)


def _full_rank(instance: Instance) -> bool:
    sigma, omega = instance["sigma"], instance["omega"]
    decreasing = all(a >= b for a, b in itertools.pairwise(sigma))
    return bool(decreasing and sigma[0] > 0 and omega[0] != 0)


_FULL_RANK = Assumption(
    text="r = l = 1, the singular values decrease, and Omega_1 is not 0", predicate=_full_rank
)


def _loss(instance: Instance, part: Fraction = Fraction(1)) -> tuple[Fraction, Fraction]:
    """Squared losses in the Frobenius norm, exact and by the bound."""
    sigma, omega = instance["sigma"], instance["omega"]
    y = [s * o for s, o in zip(sigma, omega, strict=True)]
    length = sum(x * x for x in y)
    seen = Fraction(sum((s * x) ** 2 for s, x in zip(sigma, y, strict=True)), length)
    tail = sum(s * s for s in sigma[1:])
    moved = sum((s * o) ** 2 for s, o in zip(sigma[1:], omega[1:], strict=True))
    return sum(s * s for s in sigma) - seen, part * (tail + Fraction(moved, omega[0] ** 2))


def _search(part: Fraction = Fraction(1)) -> Falsify:
    return search_by(
        partial(_loss, part=part),
        instances=_columns,
        assumptions=(_FULL_RANK,),
        examples=({"sigma": [4, 2, 1], "omega": [1, 0, 0]},),
        tries=150,
        scope="one column, 2 to 4 whole singular values up to 9, whole entries of Omega",
    )


# --- powers ---------------------------------------------------------------------------------------


def _power_means(*, without_mean: bool = False) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, w, a, b = ring("w, a, b", QQ)
    m = w * a + (1 - w) * b
    gap = w * a**3 + (1 - w) * b**3 - m**3
    last = a + b + (0 * m if without_mean else m)
    yield Identity(gap, w * (1 - w) * (a - b) ** 2 * last, "q = 1, two singular values")


THEOREMS = (
    Theorem(
        key="hmt.structural",
        title="structural bound of the loss of a range finder",
        statement=(
            "‖(1 - P) A‖² <= ‖Σ₂‖² + ‖Σ₂ Ω₂ Ω₁⁺‖² in the spectral and in the Frobenius norm, for "
            "every Ω with Ω₁ of full row rank."
        ),
        source=Source(citation=CITATION, place="Theorem 9.1", fidelity="constants made explicit"),
        reading="no randomness; A diagonal, which rotations achieve",
        assumptions=(_FULL_RANK,),
        experiments=(
            Symbolic(
                identities=_blocks,
                grade="pit(2^-50)",
                covers="statement",
                scope=(
                    "A less a matrix with the range of A Ω, block by block: (r, l, n) = (1, 2, 3), "
                    "(1, 3, 4), (2, 3, 5), (2, 4, 5), all A and Ω"
                ),
            ),
            _search(),
        ),
        expected=Status.PROVED,
        mutant=_search(Fraction(99, 100)),
        remarks=("That 1 - P shortens no column is by hand: it is a projection.",),
    ),
    Theorem(
        key="hmt.power-projection",
        title="powers of A Aᵀ sharpen a projection",
        statement="‖(1 - P) A‖₂^(2q+1) <= ‖(1 - P)(A Aᵀ)^q A‖₂ for every orthogonal projection P.",
        source=Source(citation=CITATION, place="Theorem 9.2", fidelity="constants made explicit"),
        reading="here 1 - P of rank 1, q = 1 and two singular values",
        experiments=(
            Symbolic(
                identities=_power_means,
                covers="statement",
                scope="1 - P of rank 1, q = 1, two singular values, all of them",
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_power_means, without_mean=True),
            covers="statement",
            scope="a + b in place of a + b + m",
        ),
    ),
)
