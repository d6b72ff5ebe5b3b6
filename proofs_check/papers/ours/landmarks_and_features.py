"""Our own statements behind landmarks and random features.

Certificates of Nystrom and Performer cite them. Nothing here is a quotation.

p, o, V       weights of one row, p_j > 0 and sum_j p_j = 1; o = sum_j p_j v_j; columns of V between
              lo and hi
A, Z          a square matrix and what stands for its inverse; e an eigenvalue of 1 - A Z
x, y, z, w    scaled query and key, z = x + y; w a standard normal vector, so that w.z is
              N(0, |z|^2)
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__)

# --- the range of the values ----------------------------------------------------------------------
# 1. o - lo = sum_j p_j (v_j - lo) and hi - o = sum_j p_j (hi - v_j): sums of non-negative terms.
# 2. So lo <= o <= hi, and any number t has |t - o| <= max(t - lo, hi - t).


def _within_range(total: int = 1) -> Iterator[Identity]:
    from sympy import QQ, ring

    for n in range(1, 9):
        names = [*(f"p{j}" for j in range(n - 1)), *(f"v{j}" for j in range(n)), "edge"]
        _, *symbols = ring(names, QQ)
        p, v, edge = symbols[: n - 1], symbols[n - 1 : -1], symbols[-1]
        p = [*p, total - sum(p, 0 * edge)]
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
            scope=(
                "o - edge is the weighted mean of v_j - edge: 1 to 8 keys, all weights and values"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(identities=partial(_within_range, total=2), scope="weights that sum to 2"),
)

# --- the iteration for an inverse -----------------------------------------------------------------
# Z' = Z (13 - AZ (15 - AZ (7 - AZ))) / 4 is a polynomial in AZ times Z. So 1 - AZ' is a polynomial
# in
# 1 - AZ, eigenvalue by eigenvalue.


def _residual(first: int = 13) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, e = ring("e", QQ)
    s = 1 - e
    after = 1 - s * (first - s * (15 - s * (7 - s))) * QQ(1, 4)
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
    experiments=(Symbolic(identities=_residual, scope="the polynomial identity, all e"),),
    expected=Status.PROVED,
    mutant=Symbolic(identities=partial(_residual, first=14), scope="14 in place of 13"),
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
        Symbolic(identities=_row_sums, scope="A^{-1} 1 = 1: 1 to 3 landmarks, all entries"),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_row_sums, total=Fraction(1, 2)), scope="rows that sum to 1/2"
    ),
)

# --- positive random features ---------------------------------------------------------------------
# 1. t = E e^{w.z} = e^{|z|^2/2} gives E e^{a w.z} = t^{a^2}.
# 2. One pair of features is e^{w.z - (|x|^2 + |y|^2)/2}, and e^{-|x|^2 - |y|^2} = e^{2 x.y} / t^2.
# 3. With k = e^{x.y} its mean is k. Positive features: variance k^2 (t^4 - t^2)/t^2.
# 4. Hyperbolic features: E cosh^2 = (t^4 + 1)/2 in place of t^4.
# 5. For attention, o~ - o = sum_j a~_j (v_j - o) / sum_j a~_j.
# 6. Chebyshev's inequality bounds numerator and denominator: with |N| <= a and D >= 1 - b,
#    |o~ - o| <= a / (1 - b).


def _moment() -> Iterator[Any]:
    import sympy as sp

    w, a = sp.symbols("w a", real=True)
    found = sp.integrate(sp.exp(a * w - w**2 / 2), (w, -sp.oo, sp.oo)) / sp.sqrt(2 * sp.pi)
    yield Identity(sp.simplify(found - sp.exp(a**2 / 2)), sp.Integer(0), "E e^{a w} = e^{a^2/2}")


def _variances(half: int = 2) -> Iterator[Identity]:
    from sympy import QQ, field

    _, t, k = field("t, k", QQ)
    e = t**2  # e^{|z|^2}
    yield Identity(k**2 / e * (t**4 - t**2), k**2 * (e - 1), "positive")
    yield Identity(
        k**2 / e * ((t**4 + 1) / 2 - t**2), k**2 * (e - 1) * (1 - 1 / e) / half, "hyperbolic"
    )


def _ratio() -> Iterator[Identity]:
    from sympy import QQ, field

    _, a, b, c, u, v, w, o = field("a, b, c, u, v, w, o", QQ)
    total = a + b + c
    yield Identity(
        (a * u + b * v + c * w) / total - o,
        (a * (u - o) + b * (v - o) + c * (w - o)) / total,
        "N / D",
    )


POSITIVE_FEATURES = Theorem(
    key="ours.positive-features",
    title="variance of positive random features, and attention by them",
    statement=(
        "The estimate of e^{x.y} from m independent normal vectors has relative variance ρ² = "
        "(e^{|z|²} - 1)/m, with their negatives as well (e^{|z|²} - 1)(1 - e^{-|z|²})/(2m); "
        "orthogonal vectors do not increase it. Attention with these weights obeys |o~ - o| <= (ρ "
        "osc(V)/2) sqrt(2 n_q d_v/δ) / (1 - ρ sqrt(2 n_q/δ)) in all rows and columns with "
        "probability >= 1 - δ, for ρ the largest over the keys."
    ),
    source=_HERE,
    reading="z = x + y; the draws are independent of q, k, v; m vectors in all",
    experiments=(
        Symbolic(identities=_moment, scope="E e^{aw} = e^{a²/2}, all real a"),
        Symbolic(identities=_variances, scope="both variances, all x, y"),
        Symbolic(identities=_ratio, scope="õ - o = N/D, 3 keys (2 and more by induction)"),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_variances, half=4),
        scope="hyperbolic features with half of their variance",
    ),
    remarks=(
        "That orthogonal vectors do not increase the variance, and the two Chebyshev "
        "inequalities, are by hand: see `approxattn.methods.random_features.features` and "
        "`approxattn.methods.random_features.performer`.",
    ),
)

THEOREMS = (VALUE_RANGE, NEWTON_SCHULZ, NYSTROM_ROWS, POSITIVE_FEATURES)
