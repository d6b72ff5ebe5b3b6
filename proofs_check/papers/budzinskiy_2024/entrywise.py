"""Matrices that are nearly of low rank entry by entry (Budzinskiy 2024).

Read: the abstract. Functions of inner products have entrywise rank O(log(n) eps^-2 log(1/eps)),
whatever the dimension of the vectors.

Where the rank cannot be small, the identity matrix:

1. Rank n - 1 is possible at the error 1/n: I - J/n has rank n - 1, J the matrix of ones.
2. Nothing below 1/n: if M x = 0 and x != 0, then |x_i| = |((I - M) x)_i| <= eps |x|_1. Summed over
   i, 1 <= n eps.
3. A determinant has degree 1 in each entry. So on a box of entries it is least at a corner, and if
   it is positive at every corner, no matrix of the box is singular.

Where the dimension drops out: signs s in {-1, 1}^d, uniform.

4. E (s.x)(s.y) = <x, y>, and E ((s.x)(s.y))^2 = |x|^2 |y|^2 + 2 <x, y>^2 - 2 sum_i x_i^2 y_i^2 <= 3
   for unit vectors.
5. A product of p independent such factors is a matrix of rank 1 with mean <x, y>^p and second
   moment at most 3^p. Its mean over r draws has the rank r, and d occurs nowhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import partial

import numpy as np

from proofs_check.papers.budzinskiy_2024.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

ONE = Fraction(1)


def _determinants(a: np.ndarray) -> np.ndarray:
    """Determinants of a stack of whole matrices, by their first rows."""
    n = a.shape[-1]
    if n == 1:
        return np.asarray(a[..., 0, 0])
    total = np.zeros(a.shape[:-2], dtype=np.int64)
    for j in range(n):
        minor = np.delete(a[..., 1:, :], j, axis=-1)
        total = total + (-1) ** j * a[..., 0, j] * _determinants(minor)
    return total


def _least_corner(n: int, epsilon: Fraction) -> Fraction:
    """Least determinant over the corners of {M : |M - I| <= epsilon}, exact in whole numbers."""
    whole, part = epsilon.denominator, epsilon.numerator
    signs = (np.arange(2 ** (n * n))[:, None] >> np.arange(n * n)) & 1
    corners = whole * np.eye(n, dtype=np.int64) + part * (2 * signs - 1).reshape(-1, n, n)
    return Fraction(int(_determinants(corners).min()), whole**n)


def _full_rank(_bits: int, part: Fraction = Fraction(99, 100)) -> list[Comparison]:
    """Step 3 with a positive lower bound, (1/100)^n, to make the inequality strict."""
    return [
        Comparison(Fraction(1, 100**n), _least_corner(n, part / n), f"n = {n}, ε = {part}/n")
        for n in (2, 3, 4)
    ]


def _singular(_bits: int, n_most: int = 8) -> list[Comparison]:
    """I - J/n: its largest entry in I - (I - J/n), and its rank."""
    from flint import fmpq, fmpq_mat

    found = []
    for n in range(2, n_most + 1):
        entries = [fmpq(int(i == j)) - fmpq(1, n) for i in range(n) for j in range(n)]
        found.append(Comparison(fmpq_mat(n, n, entries).rank(), n - 1, f"n = {n}: rank"))
    return found


def _signs(d: int, twice: int = 2) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, *free = ring([*(f"x{i}" for i in range(d)), *(f"y{i}" for i in range(d))], QQ)
    x, y = free[:d], free[d:]
    zero = 0 * x[0]
    first, second = zero, zero
    for s in itertools.product((-1, 1), repeat=d):
        product = sum((a * b for a, b in zip(s, x, strict=True)), zero)
        product *= sum((a * b for a, b in zip(s, y, strict=True)), zero)
        first, second = first + product, second + product**2
    dot = sum((a * b for a, b in zip(x, y, strict=True)), zero)
    norms = sum((a * a for a in x), zero) * sum((b * b for b in y), zero)
    both = sum((a * a * b * b for a, b in zip(x, y, strict=True)), zero)
    yield Identity(first, 2**d * dot, f"d = {d}: mean")
    yield Identity(second, 2**d * (norms + twice * dot**2 - 2 * both), f"d = {d}: second moment")


def _all_signs(twice: int = 2) -> Iterator[Identity]:
    for d in (1, 2, 3, 4):
        yield from _signs(d, twice)


THEOREMS = (
    Theorem(
        key="budzinskiy.identity",
        title="the identity matrix needs full rank for every entrywise error below 1/n",
        statement=(
            "Every M with |M - I| <= 99/(100 n) in every entry is invertible; I - J/n is not, and "
            "errs by 1/n."
        ),
        source=Source(
            citation=CITATION,
            place="the case of orthogonal vectors under abstract (i)",
            fidelity="ours",
        ),
        reading="softmax of large multiples of distinct unit vectors tends to I",
        experiments=(
            Enclose(
                certify=_full_rank,
                covers="statement",
                scope="n = 2, 3, 4, all M: the determinant at all corners of the box",
            ),
            Enclose(
                certify=_singular,
                relation="=",
                covers="statement",
                scope="I - J/n has rank n - 1, n = 2 to 8",
            ),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_full_rank, part=Fraction(21, 20)),
            covers="statement",
            scope="21/20 of 1/n",
        ),
        remarks=(
            "For all n by step 2. So log(n) ε^-2 exceeds n long before ε = 1/n: the rank of the "
            "abstract says something for fixed ε only.",
        ),
    ),
    Theorem(
        key="budzinskiy.signs",
        title="random signs give inner products by rank one, whatever the dimension",
        statement=(
            "E (s·x)(s·y) = ⟨x, y⟩ and E ((s·x)(s·y))² = ‖x‖²‖y‖² + 2⟨x, y⟩² - 2 Σ_i x_i² y_i²."
        ),
        source=Source(
            citation=CITATION,
            place="why the rank of abstract (i) does not depend on the dimension",
            fidelity="ours",
        ),
        reading="at most 3 for unit vectors in any dimension",
        experiments=(
            Symbolic(
                identities=_all_signs, covers="statement", scope="d = 1, 2, 3, 4, all x and y"
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_all_signs, 1), covers="statement", scope="⟨x, y⟩² once, not twice"
        ),
    ),
)
