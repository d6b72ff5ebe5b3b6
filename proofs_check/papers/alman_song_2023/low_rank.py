"""Rank of a polynomial of the scores (Alman & Song 2023, low-rank lemma).

Citation and letters: `attention_error`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.alman_song_2023.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- the rank -------------------------------------------------------------------------------------
# (q . k)^t = sum_{|alpha| = t} (t!/alpha!) q^alpha k^alpha (multinomial theorem): one column of U1
# and U2 for every monomial of degree <= g in d variables.


def _exponents(d: int, degree: int) -> list[tuple[int, ...]]:
    return [
        alpha for alpha in itertools.product(range(degree + 1), repeat=d) if sum(alpha) <= degree
    ]


def _features(x: Any, d: int, degree: int) -> list[Any]:
    return [
        math.prod((x[i] ** e for i, e in enumerate(alpha)), start=1 + 0 * x[0])
        for alpha in _exponents(d, degree)
    ]


def _multiplicities(d: int, degree: int) -> list[int]:
    return [
        math.factorial(sum(alpha)) // math.prod(map(math.factorial, alpha))
        for alpha in _exponents(d, degree)
    ]


def _factorisation(skipped: int = 0) -> Iterator[Identity]:
    from sympy import QQ, ring

    for d, degree in ((1, 6), (2, 5), (3, 4), (4, 3)):
        _, *g = ring(
            [
                *(f"q{i}" for i in range(d)),
                *(f"k{i}" for i in range(d)),
                *(f"c{t}" for t in range(degree + 1)),
            ],
            QQ,
        )
        q, k, c = g[:d], g[d : 2 * d], g[2 * d :]
        used = degree - skipped
        coefficients = [
            c[sum(alpha)] * m
            for alpha, m in zip(_exponents(d, used), _multiplicities(d, used), strict=True)
        ]
        features = zip(coefficients, _features(q, d, used), _features(k, d, used), strict=True)
        score = sum(x * y for x, y in zip(q, k, strict=True))
        yield Identity(
            sum(x * y * z for x, y, z in features),
            sum(c[t] * score**t for t in range(degree + 1)),
            f"d = {d}, degree {degree}",
        )


def _ranks() -> Iterator[Identity]:
    """Number of features, and the exact rank of P(QK^T) for as many tokens plus two, P the Taylor
    polynomial (times g!).
    """
    from flint import fmpz_mat

    for d, degree in ((1, 4), (2, 3), (3, 2), (3, 4), (4, 3), (6, 2)):
        r = math.comb(d + degree, degree)
        yield Identity(
            len(_exponents(d, degree)), r, f"number of features, d = {d}, degree {degree}"
        )
        q, k = np.random.default_rng(0).integers(-50, 51, size=(2, r + 2, d)).tolist()
        scores = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in k] for a in q]
        weights = [math.factorial(degree) // math.factorial(t) for t in range(degree + 1)]
        p = fmpz_mat(
            [[sum(w * s**t for t, w in enumerate(weights)) for s in row] for row in scores]
        )
        yield Identity(int(p.rank()), r, f"exact rank, d = {d}, degree {degree}")


def _never_attained(_bits: int) -> list[Comparison]:
    sizes = itertools.product(range(1, 41), repeat=2)
    return [
        Comparison(math.comb(d + g, g) + 1, math.comb(2 * (g + d), 2 * g), f"d = {d}, g = {g}")
        for d, g in sizes
    ]


LOW_RANK = Theorem(
    key="as23.low-rank",
    title="rank of a polynomial of the scores",
    statement=(
        "For P of degree g, P(Q Kᵀ) = U1 U2ᵀ with U1, U2 of C(d+g, g) columns, and no fewer in "
        "general; so C(2(g+d), 2g) is an upper bound, never attained."
    ),
    source=Source(
        citation=CITATION, place="low-rank lemma, r = C(2(g+d), 2g)", fidelity="corrected"
    ),
    reading=(
        "rank over the rationals; d, g >= 1; the factors of one monomial in 2d variables are "
        "counted once, not as a monomial of degree 2g"
    ),
    experiments=(
        Symbolic(
            identities=_factorisation,
            covers="statement",
            scope="(d, g) = (1, 6), (2, 5), (3, 4), (4, 3), all q, k and coefficients",
        ),
        Symbolic(
            identities=_ranks,
            grade="exact-rational",
            covers="statement",
            scope=(
                "(d, g) = (1, 4), (2, 3), (3, 2), (3, 4), (4, 3), (6, 2): one Q, K of C(d+g, g) + "
                "2 tokens attains the rank"
            ),
        ),
        Enclose(
            certify=_never_attained,
            covers="statement",
            scope="C(d+g, g) < C(2(g+d), 2g) for d, g = 1, ..., 40",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_factorisation, skipped=1),
        covers="statement",
        scope="features of degree g - 1",
    ),
    remarks=("d = 8, g = 4: 495 columns against 735471.",),
)

THEOREMS = (LOW_RANK,)
