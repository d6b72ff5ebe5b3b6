"""Our own statements behind landmarks.

Certificates of Nystrom cite them. Nothing here is a quotation.

p, o, V       weights of one row, p_j > 0 and sum_j p_j = 1; o = sum_j p_j v_j; columns of V between
              lo and hi
A, Z          a square matrix and what stands for its inverse; e an eigenvalue of 1 - A Z
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial

from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__)

# --- the range of the values ----------------------------------------------------------------------
# 1. o - lo = sum_j p_j (v_j - lo) and hi - o = sum_j p_j (hi - v_j): sums of non-negative terms.
# 2. So lo <= o <= hi, and any number t has |t - o| <= max(t - lo, hi - t).


def _within_range(total: Fraction = Fraction(1)) -> Iterator[Identity]:
    from sympy import QQ, ring

    for n in range(1, 9):
        names = [*(f"p{j}" for j in range(n - 1)), *(f"v{j}" for j in range(n)), "edge"]
        _, *symbols = ring(names, QQ)
        p, v, edge = symbols[: n - 1], symbols[n - 1 : -1], symbols[-1]
        p = [*p, QQ(total.numerator, total.denominator) - sum(p, 0 * edge)]
        o = sum((a * b for a, b in zip(p, v, strict=True)), 0 * edge)
        yield Identity(
            o - edge,
            sum((a * (b - edge) for a, b in zip(p, v, strict=True)), 0 * edge),
            f"{n} keys",
        )


VALUE_RANGE = Theorem(
    key="ours.value-range",
    title="attention lies within the range of the values",
    statement=(
        "min_j V_jc <= o_c <= max_j V_jc for each column, hence |t - o_c| <= max(t - min_j V_jc, "
        "max_j V_jc - t) for every number t, whatever method made it."
    ),
    source=_HERE,
    reading="any positive weights that sum to 1; the visible keys only",
    experiments=(
        Symbolic(
            identities=_within_range,
            covers="statement",
            scope=(
                "o - edge is the weighted mean of v_j - edge: 1 to 8 keys, all weights and values"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_within_range, total=Fraction(101, 100)),
        covers="statement",
        scope="weights that sum to 1.01",
    ),
)

# --- the iteration for an inverse -----------------------------------------------------------------
# Z' = Z (13 - AZ (15 - AZ (7 - AZ))) / 4 is a polynomial in AZ times Z. So 1 - AZ' is a polynomial
# in
# 1 - AZ, eigenvalue by eigenvalue.


def _residual(first: Fraction = Fraction(13)) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, e = ring("e", QQ)
    s = 1 - e
    start = QQ(first.numerator, first.denominator)
    after = 1 - s * (start - s * (15 - s * (7 - s))) * QQ(1, 4)
    yield Identity(after, QQ(3, 4) * e**3 + QQ(1, 4) * e**4, "residual after one step")


NEWTON_SCHULZ = Theorem(
    key="ours.newton-schulz",
    title="residual of the Newton-Schulz iteration of Nystrom attention",
    statement=(
        "Z' = Z (13 I - AZ (15 I - AZ (7 I - AZ))) / 4 turns an eigenvalue e of I - AZ into 3 e³/4 "
        "+ e⁴/4: order 3, and [0, 1) stays in [0, 1)."
    ),
    source=_HERE,
    reading="any A and Z for which AZ is diagonalisable, in exact arithmetic",
    experiments=(
        Symbolic(identities=_residual, covers="statement", scope="the polynomial identity, all e"),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_residual, first=Fraction(1301, 100)),
        covers="statement",
        scope="13.01 in place of 13",
    ),
)

# --- row sums of Nystrom attention ----------------------------------------------------------------
# Let F 1 = 1, A 1 = 1, B 1 = 1 and A invertible. Then A^{-1} 1 = A^{-1} A 1 = 1, so F A^{-1} B 1 =
# 1.
# It is decided by Cramer's rule for matrices with given row sums.


def _row_sums(total: Fraction = Fraction(1)) -> Iterator[Identity]:
    from sympy import QQ
    from sympy.polys.matrices import DomainMatrix

    for n in (1, 2, 3):
        domain = (
            QQ.frac_field(*(f"a{i}{j}" for i in range(n) for j in range(n - 1))) if n > 1 else QQ
        )
        free = iter(domain.gens) if n > 1 else iter(())
        total_here = domain.convert(QQ(total.numerator, total.denominator))
        rows = []
        for _ in range(n):
            row = [next(free) for _ in range(n - 1)]
            rows.append([*row, total_here - sum(row, domain.zero)])
        inverse = DomainMatrix(rows, (n, n), domain).inv().to_list()
        for i, row in enumerate(inverse):
            yield Identity(sum(row, domain.zero), domain.one, f"{n} landmarks, row {i}")


NYSTROM_ROWS = Theorem(
    key="ours.nystrom-rows",
    title="rows of Nystrom attention sum to 1",
    statement=(
        "If F, A, B have rows that sum to 1 and A is invertible, the rows of F A^{-1} B sum to 1. "
        "Its entries may be negative."
    ),
    source=_HERE,
    reading="exact inverse; with few iterations in its place the sums differ from 1",
    experiments=(
        Symbolic(
            identities=_row_sums,
            covers="statement",
            scope="A^{-1} 1 = 1: 1 to 3 landmarks, all entries",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_row_sums, total=Fraction(101, 100)),
        covers="statement",
        scope="rows that sum to 1.01",
    ),
)

THEOREMS = (VALUE_RANGE, NEWTON_SCHULZ, NYSTROM_ROWS)
