"""Rank of a polynomial of squared distances, on which batch kernel density estimation rests.

Citation: `source`. A polynomial P of degree g next to e^{-t} turns the kernel matrix e^{-|x_i -
y_j|^2} of points in m dimensions into one of low rank. How low, exactly:

1. (|x|^2 - 2 x.y + |y|^2)^k is a sum over a + b + c = k of |x|^{2a} (-2 x.y)^b |y|^{2c} with
   multinomial coefficients.
2. (x.y)^b = sum over |alpha| = b of (b!/alpha!) x^alpha y^alpha.
3. So P(|x - y|^2) is a sum of products, the left factors among |x|^{2a} x^alpha, a + |alpha| <= g.
4. These span all polynomials of degree at most g and, in each degree k from g + 1 to 2g, the
   products of |x|^{2(k - g)} with the homogeneous polynomials of degree 2g - k.
5. The dimension is C(m+g, g) + sum_{j < g} C(m+j-1, j) = C(m+g, g) + C(m+g-1, g-1).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.aggarwal_alman_2022.source import CITATION
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

_SMALL = ((1, 4), (2, 3), (3, 2), (4, 2))
"""Dimension m and degree g."""

_LARGER = ((1, 5), (2, 4), (3, 3), (5, 2))


def _exponents(m: int, degree: int) -> list[tuple[int, ...]]:
    every = itertools.product(range(degree + 1), repeat=m)
    return [alpha for alpha in every if sum(alpha) <= degree]


def _power(x: Any, alpha: tuple[int, ...]) -> Any:
    return math.prod((t**e for t, e in zip(x, alpha, strict=True)), start=1 + 0 * x[0])


def _expansion(k: int, x: Any, y: Any) -> Any:
    """Steps 1 and 2: the k-th power of the squared distance, by products of features."""
    own, other = sum((t * t for t in x), 0 * x[0]), sum((t * t for t in y), 0 * x[0])
    total = 0 * x[0]
    for alpha in _exponents(len(x), k):
        b = sum(alpha)
        shared = math.factorial(b) // math.prod(map(math.factorial, alpha))
        for a in range(k - b + 1):
            c = k - b - a
            count = math.factorial(k) // math.prod(map(math.factorial, (a, b, c)))
            weight = count * shared * (-2) ** b
            total += weight * own**a * _power(x, alpha) * other**c * _power(y, alpha)
    return total


def _expansions() -> Iterator[Identity]:
    from sympy import QQ, ring

    for m, degree in _SMALL:
        _, *s = ring([*(f"x{i}" for i in range(m)), *(f"y{i}" for i in range(m))], QQ)
        x, y = s[:m], s[m:]
        distance = sum(((p - q) ** 2 for p, q in zip(x, y, strict=True)), 0 * x[0])
        for k in range(degree + 1):
            yield Identity(_expansion(k, x, y), distance**k, f"m = {m}, power {k}")


def _claimed(m: int, g: int, *, below: bool = False) -> int:
    return math.comb(m + g, g) + (0 if below else math.comb(m + g - 1, g - 1))


def _dimension(m: int, g: int) -> int:
    """Rank of the coefficients of |x|^{2a} x^alpha, a + |alpha| <= g."""
    from flint import fmpz_mat
    from sympy import ZZ, ring

    polynomials, *x = ring([f"x{i}" for i in range(m)], ZZ)
    norm = sum((t * t for t in x), polynomials.zero)
    features = [
        norm**a * _power(x, alpha) for alpha in _exponents(m, g) for a in range(g - sum(alpha) + 1)
    ]
    monomials = sorted({monomial for f in features for monomial in f})
    return int(fmpz_mat([[int(f.get(key, 0)) for key in monomials] for f in features]).rank())


def _kernel_rank(m: int, g: int) -> int:
    """Exact rank of sum_k (-1)^k (g!/k!) |x_i - y_j|^{2k} for two more points than the claim."""
    from flint import fmpz_mat

    size = _claimed(m, g) + 2
    x, y = np.random.default_rng(0).integers(-30, 31, size=(2, size, m)).tolist()
    weights = [(-1) ** k * math.factorial(g) // math.factorial(k) for k in range(g + 1)]
    rows = []
    for p in x:
        distances = [sum((s - t) ** 2 for s, t in zip(p, q, strict=True)) for q in y]
        rows.append([sum(w * t**k for k, w in enumerate(weights)) for t in distances])
    return int(fmpz_mat(rows).rank())


def _ranks(*, below: bool = False) -> Iterator[Identity]:
    for m, g in (*_SMALL, *_LARGER):
        claimed = _claimed(m, g, below=below)
        yield Identity(_dimension(m, g), claimed, f"span of the features, m = {m}, g = {g}")
        yield Identity(_kernel_rank(m, g), claimed, f"rank of one matrix, m = {m}, g = {g}")


KERNEL_RANK = Theorem(
    key="aa22.kernel-rank",
    title="rank of a polynomial of squared distances",
    statement=(
        "For P of degree g and points in m dimensions, the matrix P(|x_i - y_j|²) has rank at most "
        "C(m+g, g) + C(m+g-1, g-1), and no less in general."
    ),
    source=Source(
        citation=CITATION,
        place="batch Gaussian kernel density estimation, the step from a degree to a rank",
        fidelity="ours",
    ),
    reading="rank over the rationals; m, g >= 1",
    experiments=(
        Symbolic(
            identities=_ranks,
            grade="exact-rational",
            covers="statement",
            scope="(m, g) = "
            + ", ".join(map(str, (*_SMALL, *_LARGER)))
            + ": all points by the span of the features; one matrix attains it",
        ),
        Symbolic(
            identities=_expansions,
            covers="step",
            scope="(m, g) = "
            + ", ".join(map(str, _SMALL))
            + ": the powers by features, all points",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_ranks, below=True),
        grade="exact-rational",
        covers="statement",
        scope="C(m+g, g), as for a polynomial of inner products",
    ),
    uses=("as23.low-rank",),
    remarks=(
        "One matrix product of m + 2 columns would give C(m+g+1, g); the relation |x|² = Σ x_c² "
        "saves C(m+g-1, g-2) of them.",
    ),
)

THEOREMS = (KERNEL_RANK,)
