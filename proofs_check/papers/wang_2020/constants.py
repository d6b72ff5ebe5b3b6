"""The constants of Linformer's theorems, and the step on which Theorem 2 rests.

Citation and letters: `theorem_1`.

k is 5 ln n / (eps^2 - eps^3) in the proof of Theorem 1; eps^2 - eps^3 is largest at eps = 2/3,
where it is 4/27.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.wang_2020.source import CITATION
from proofs_check.statements.experiment import (
    Comparison,
    Enclose,
    Identity,
    Symbolic,
)
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- the experiments' k ---------------------------------------------------------------------------


def _square() -> Iterator[Identity]:
    from sympy import QQ, ring

    _, eps = ring("eps", QQ)
    yield Identity(
        QQ(4, 27) - eps**2 + eps**3,
        (eps - QQ(2, 3)) ** 2 * (eps + QQ(1, 3)),
        "4/27 - eps^2 + eps^3",
    )


def _needed(_bits: int, k: int = 211) -> list[Comparison]:
    """5 ln 512 / (4/27) = 33.75 ln 512 against the k of the experiments and the least k that any
    eps allows.
    """
    least = ball(Fraction(135, 4)) * ball(512).log()
    return [Comparison(k - 1, least, f"{k - 1} <= least k of the theorem at n = 512")]


EXPERIMENTS = Theorem(
    key="linformer.experiments-k",
    title="the k of the experiments against the k of the theorem",
    statement=(
        "5 ln n/(ε² - ε³) >= 33.75 ln n for every ε in (0, 1): at n = 512 the theorem asks for k "
        ">= 211, whatever ε; the experiments use k = 128."
    ),
    source=Source(
        citation=CITATION,
        place="proof of Theorem 1, and section 5",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="ε² - ε³ <= 4/27, with equality at ε = 2/3",
    experiments=(
        Symbolic(
            identities=_square,
            covers="statement",
            scope="4/27 - ε² + ε³ = (ε - 2/3)² (ε + 1/3), for all ε",
        ),
        Enclose(certify=_needed, covers="statement", scope="33.75 ln 512 > 210"),
    ),
    expected=Status.PROVED,
    mutant=Enclose(certify=partial(_needed, k=212), covers="statement", scope="33.75 ln 512 > 211"),
    remarks=(
        "The failure probability at that k is 2 n^(-1/4), which is 0.42 at n = 512 and vacuous for "
        "n <= 16: linformer.union-bound.",
    ),
)


def _vacuous(_bits: int, largest: int = 16) -> list[Comparison]:
    """2 n^(-1/4) >= 1 for n <= 16."""
    return [Comparison(1, 2 / ball(n).sqrt().sqrt(), f"n = {n}") for n in range(1, largest + 1)]


UNION_BOUND = Theorem(
    key="linformer.union-bound",
    title="where the probability of Theorem 1 says nothing",
    statement=(
        "2n exp(-(ε² - ε³)k/4) at k = 5 ln n/(ε² - ε³) is 2 n^(-1/4), at least 1 for n <= 16."
    ),
    source=Source(
        citation=CITATION,
        place="eq. (20) with the k of the proof",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="the union bound over n rows, one column of V",
    experiments=(Enclose(certify=_vacuous, covers="statement", scope="n = 1, ..., 16"),),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_vacuous, largest=17), covers="statement", scope="n = 17 as well"
    ),
    bookkeeping=True,
    remarks=("It is 0.42 at n = 512 and 0.125 at n = 65,536.",),
)

# --- the branch that does not depend on n ---------------------------------------------------------
# 9 d ln d < 5 ln n needs n > d^{9 d/5}.


def _branch(_bits: int, doublings: int = 0) -> list[Comparison]:
    """n^5 <= d^(9 d) for whole d and n: powers of whole numbers, so exact."""
    cases = ((8, 2**43), (32, 2**288), (64, 2**691))
    return [
        Comparison((n << doublings) ** 5, d ** (9 * d), f"d = {d}, n = {n.bit_length() - 1} bits")
        for d, n in cases
    ]


BRANCH = Theorem(
    key="linformer.n-independent-branch",
    title="the branch of k that does not depend on n",
    statement=(
        "min{9 d ln d, 5 ln n}/ε² is 5 ln n/ε² for n <= 2⁴³ at d = 8, n <= 2²⁸⁸ at d = 32 and n <= "
        "2⁶⁹¹ at d = 64."
    ),
    source=Source(
        citation=CITATION,
        place="Theorem 2, k = min{Θ(9 d log d/ε²), 5 Θ(log n/ε²)}",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="both Θ read as 1; 5 ln n <= 9 d ln d exactly when n^5 <= d^(9d)",
    experiments=(Enclose(certify=_branch, covers="statement", scope="d = 8, 32, 64"),),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_branch, doublings=1),
        covers="statement",
        scope="twice those n",
    ),
    remarks=(
        "So at any length that fits a machine the theorem's k grows with log n; linear time "
        "independent of n is the other branch.",
    ),
)

# --- exp and a linear map -------------------------------------------------------------------------
# x = 0: exp(delta x R^T) = 1_k, exp(delta x) R^T = 1_n R^T. E |1_k - 1_n R^T|^2 = k + n with R_sj
# of mean 0 and variance 1/k, against |exp(x)|^2 = n.


def _second_moment(n: int, k: int, *, of_rows: bool = False) -> Iterator[Identity]:
    """Exact, by enumerating R = signs / sqrt(k) over one row (rows are alike): E (1 - sum_j r_j)^2
    times k.
    """
    total = Fraction(0)
    for signs in itertools.product((1, -1), repeat=n):
        # (1 - S/sqrt k)^2 = 1 - 2 S/sqrt k + S^2/k; the middle term cancels between signs and
        # -signs
        total += 1 + Fraction(sum(signs) ** 2, k)
    yield Identity(
        total / 2**n * k, k if of_rows else k + n, f"E|1_k - 1_n R^T|^2, n = {n}, k = {k}"
    )


def _second_moments(*, of_rows: bool = False) -> Iterator[Identity]:
    for n, k in ((2, 1), (4, 2), (8, 3), (10, 10)):
        yield from _second_moment(n, k, of_rows=of_rows)


LIPSCHITZ = Theorem(
    key="linformer.exp-of-projection",
    title="exp does not pass through a projection",
    statement=(
        "At x = 0: E‖exp(δ x Rᵀ) - exp(δ x) Rᵀ‖² = k + n = (1 + k/n) ‖exp(x)‖², whatever δ; it is "
        "not o(‖exp(x)‖²)."
    ),
    source=Source(
        citation=CITATION,
        place="eqs. (22b), (23): 'by Lipschitz continuity' it is to be o(‖exp(x)‖)",
        fidelity="corrected",
        wording_verified=True,
    ),
    reading=(
        "R of shape (k, n) with independent entries of mean 0 and variance 1/k; only these two "
        "moments enter, so signs stand for Gaussians"
    ),
    experiments=(
        Symbolic(
            identities=_second_moments,
            grade="exact-rational",
            covers="statement",
            scope="all signs enumerated, (n, k) = (2, 1), (4, 2), (8, 3), (10, 10)",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_second_moments, of_rows=True),
        grade="exact-rational",
        covers="statement",
        scope="k in place of k + n",
    ),
    remarks=(
        "exp(0) is the vector of ones, not the image of one: continuity of exp cannot exchange it "
        "with a linear map.",
    ),
)

THEOREMS = (EXPERIMENTS, UNION_BOUND, BRANCH, LIPSCHITZ)
