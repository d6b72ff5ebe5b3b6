"""Lower triangular matrices as sums of convolutions (Gu et al. 2024): how many are needed.

Read: the abstract. conv(b, m) is the n x n matrix whose last m rows and columns hold the lower
triangular Toeplitz matrix with first column b in R^m, and which is 0 elsewhere. The conv rank of a
lower triangular M is the least number of such terms, of different m, that sum to M.

1. Columns j and j + 1 of a term (counted from 0) agree up to a shift, (j+1, i+1) with (j, i), but
   where the term begins: its first column j = n - m may be anything.
2. So a sum of terms that begin at the columns in S has column j equal to the shift of column
   j - 1 for every j outside S; for j = 0 "the shift" is 0.
3. Conversely, let S be the set of columns that differ from the shift of their predecessor. Each
   difference is the first column of one term, and these terms sum to M.
4. So the conv rank is |S|: at most n, and for a matrix without coincidences n.
5. A function of the entries keeps agreements: f(M) on the triangle has its S within that of M and
   column 0. An injective one changes no other column than 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.papers.gu_2024.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

Rows = Sequence[Sequence[Any]]


_DEFINITION = Source(
    citation=CITATION,
    place="the conv basis, with our count of its terms",
    fidelity="ours",
)


def conv_term(b: Sequence[Any], n: int, zero: Any = 0) -> list[list[Any]]:
    """conv(b, len(b)) of size n."""
    start = n - len(b)
    rows = [[zero] * n for _ in range(n)]
    for j in range(len(b)):
        for i in range(j, len(b)):
            rows[start + i][start + j] = b[i - j]
    return rows


def _differences(m: Rows, zero: Any = 0) -> list[list[Any]]:
    """Column j of M less the shift of column j - 1, from the diagonal down."""
    n = len(m)
    return [[m[i][j] - (m[i - 1][j - 1] if j else zero) for i in range(j, n)] for j in range(n)]


def conv_rank(m: Rows) -> int:
    """Step 4: the number of columns that differ from the shift of their predecessor."""
    return sum(any(x != 0 for x in column) for column in _differences(m))


def _by_search(m: Rows) -> int:
    """The least number of terms, by trying every set of first columns with linear algebra."""
    from flint import fmpq, fmpq_mat

    n = len(m)
    cells = [(i, j) for i in range(n) for j in range(i + 1)]
    target = [fmpq(m[i][j].numerator, m[i][j].denominator) for i, j in cells]
    for size in range(n + 1):
        for starts in itertools.combinations(range(n), size):
            terms = []
            for j in starts:
                for place in range(n - j):
                    term = conv_term([int(x == place) for x in range(n - j)], n)
                    terms.append([fmpq(term[r][c]) for r, c in cells])
            without = fmpq_mat(terms).rank() if terms else 0
            if fmpq_mat([*terms, target]).rank() == without:
                return size
    raise AssertionError(m)


def _sum_of_terms(fewer: int = 0) -> Iterator[Identity]:
    from sympy import QQ, ring

    for n in (2, 3, 5, 7):
        r, *free = ring([f"m{i}_{j}" for i in range(n) for j in range(i + 1)], QQ)
        entries = iter(free)
        m = [[next(entries) if j <= i else r.zero for j in range(n)] for i in range(n)]
        terms = [conv_term(b, n, r.zero) for b in _differences(m, r.zero)[: n - fewer]]
        for i, j in itertools.product(range(n), repeat=2):
            total = sum((term[i][j] for term in terms), r.zero)
            yield Identity(total, m[i][j], f"n = {n}, entry {i}, {j}")


def _triangles(n: int, entries: Sequence[int]) -> Iterator[Rows]:
    """Every lower triangular matrix with the given entries."""
    for values in itertools.product(entries, repeat=n * (n + 1) // 2):
        given = iter(values)
        yield [
            [Fraction(next(given)) if j <= i else Fraction(0) for j in range(n)] for i in range(n)
        ]


def _least(_bits: int, extra: int = 0) -> list[Comparison]:
    return [
        Comparison(_by_search(m), conv_rank(m) + extra, f"M = {[list(map(str, r)) for r in m]}")
        for n, entries in ((2, (0, 1, 2)), (3, (0, 1)))
        for m in _triangles(n, entries)
    ]


def _uniform(n: int) -> Rows:
    """softmax of scores that are all 0, under the causal mask."""
    return [[Fraction(int(j <= i), i + 1) for j in range(n)] for i in range(n)]


def _ones(n: int) -> Rows:
    """The same before it is normalised."""
    return [[Fraction(int(j <= i)) for j in range(n)] for i in range(n)]


def _normaliser(_bits: int, before: Callable[[int], Rows] = _ones) -> list[Comparison]:
    found = []
    for n in (2, 3, 4):
        found.append(Comparison(_by_search(before(n)), 1, f"n = {n}: unnormalised, by search"))
        found.append(Comparison(_by_search(_uniform(n)), n, f"n = {n}: normalised, by search"))
    for n in (8, 16, 64):
        found.append(Comparison(conv_rank(before(n)), 1, f"n = {n}: unnormalised"))
        found.append(Comparison(conv_rank(_uniform(n)), n, f"n = {n}: normalised"))
    return found


def _exponential(m: Rows, *, base: int) -> Rows:
    """base^M on the triangle: exp of the scores M ln(base)."""
    n = len(m)
    return [
        [Fraction(base) ** int(m[i][j]) if j <= i else Fraction(0) for j in range(n)]
        for i in range(n)
    ]


def _entrywise(_bits: int, base: int = 2, offset: int = 1) -> list[Comparison]:
    """conv rank of exp(M), against that of M with column 0 counted in any case."""
    found = []
    for n, entries in ((2, (-1, 0, 1, 2)), (3, (0, 1, 2))):
        for m in _triangles(n, entries):
            first = int(any(m[i][0] != 0 for i in range(n)))
            bound = conv_rank(m) - first + offset
            found.append(Comparison(conv_rank(_exponential(m, base=base)), bound, f"M = {m}"))
    return found


THEOREMS = (
    Theorem(
        key="conv-basis.n-terms",
        title="every lower triangular matrix is a sum of n convolutions",
        statement="M = Σ_j conv(b_j, n - j), b_j column j of M less the shift of column j - 1.",
        source=Source(
            citation=CITATION,
            place="abstract: any lower triangular matrix can be decomposed",
            fidelity="constants made explicit",
            wording_verified=True,
        ),
        reading="one term for each size m = n - j; the terms with b_j = 0 may be left out",
        experiments=(
            Symbolic(
                identities=_sum_of_terms, covers="statement", scope="n = 2, 3, 5, 7, all matrices"
            ),
        ),
        expected=Status.PROVED,
        mutant=Symbolic(
            identities=partial(_sum_of_terms, 1), covers="statement", scope="without the last term"
        ),
    ),
    Theorem(
        key="conv-basis.rank",
        title="how many convolutions a matrix needs",
        statement=(
            "The least number of terms conv(b, m) that sum to a lower triangular M is the number "
            "of its columns that are not the shift of the column before."
        ),
        source=_DEFINITION,
        reading="column 0 counts unless it is 0",
        experiments=(
            Enclose(
                certify=_least,
                relation="=",
                covers="statement",
                scope=(
                    "every 2 x 2 matrix with entries 0, 1, 2 and every 3 x 3 one with entries 0, "
                    "1, against all sets of terms by linear algebra"
                ),
            ),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_least, extra=1),
            relation="=",
            covers="statement",
            scope="one term more",
        ),
        uses=("conv-basis.n-terms",),
        remarks=("For all n by steps 1 to 4 of the comment.",),
    ),
    Theorem(
        key="conv-basis.normaliser",
        title="the normaliser of a causal softmax destroys the structure",
        statement=(
            "With all scores 0 the causal weights exp(S) are one convolution, but softmax(S), with "
            "rows 1/i, needs all n."
        ),
        source=_DEFINITION,
        experiments=(
            Enclose(
                certify=_normaliser,
                relation="=",
                covers="statement",
                scope="n = 2, 3, 4 by search over all sets of terms; n = 8, 16, 64 by the count",
            ),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_normaliser, before=_uniform),
            relation="=",
            covers="statement",
            scope="the normalised matrix is one convolution",
        ),
        uses=("conv-basis.rank",),
        remarks=(
            "So the basis has to be taken before the rows are divided by their sums, as D⁻¹ (A V) "
            "with A in the basis.",
        ),
    ),
    Theorem(
        key="conv-basis.exponential",
        title="exp of the scores needs as many convolutions as the scores",
        statement=(
            "The conv rank of exp(M) on the triangle is that of M, once column 0 is counted in any "
            "case."
        ),
        source=_DEFINITION,
        reading="exp is injective and never 0",
        experiments=(
            Enclose(
                certify=_entrywise,
                relation="=",
                covers="statement",
                scope=(
                    "every 2 x 2 matrix with entries -1 to 2 and every 3 x 3 one with entries 0 to "
                    "2, times ln 2"
                ),
            ),
        ),
        expected=Status.PROVED,
        mutant=Enclose(
            certify=partial(_entrywise, base=1),
            relation="=",
            covers="statement",
            scope="a constant in place of exp",
        ),
        uses=("conv-basis.rank",),
    ),
)
