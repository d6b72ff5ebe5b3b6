"""The gradient of Alman & Song 2024 entry by entry (Lemma B.1), and its exact cost (Lemma C.8).

Citation and letters: `gradient`. The scores are A_{j0} x with A_{j0} the j0-th block of A1 (x) A2,
so the column (A_{j0})_i of the block belongs to one entry x_i = X_ab: it is (A1)_{j0 a} (A2)_{* b}.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic.counting import Tally
from proofs_check.papers.alman_song_2024.source import CITATION
from proofs_check.statements.experiment import Count, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- entry by entry -------------------------------------------------------------------------------
# 1. With scores s_j + t a_j and u_j = e^{s_j + t a_j}: du_j/dt = a_j u_j at t = 0, a the column
#    A_{j0,i} (Parts 2 and 3).
# 2. alpha = sum u, so alpha' = <a, u> (Part 4), and f = u/alpha by the quotient rule (Part 5).
# 3. The loss entry is (<f, h> - E)^2 / 2 (Parts 6 to 8).
# All u_j > 0 are free indeterminates; the derivatives are those of fractions of polynomials, by
# the derivation u_j -> a_j u_j.


def _entries(n: int, *, transposed: bool = False) -> Iterator[Identity]:
    from sympy import QQ, field

    names = [f"{name}{j}" for name in ("u", "a", "h") for j in range(n)]
    frac, *symbols = field([*names, "E0"], QQ)
    u, a, h, target = symbols[:n], symbols[n : 2 * n], symbols[2 * n : 3 * n], symbols[-1]
    zero = frac.zero

    def along(expression: Any) -> Any:
        """The derivative in t: du_j = a_j u_j."""
        return sum((expression.diff(x) * y * x for x, y in zip(u, a, strict=True)), zero)

    def inner(x: Any, y: Any) -> Any:
        return sum((p * q for p, q in zip(x, y, strict=True)), zero)

    alpha = sum(u, zero)
    f = [x / alpha for x in u]
    yield Identity(along(alpha), inner(a, u), "Part 4: alpha")
    for j in range(n):
        claimed = a[j] * f[j] - inner(a, f) * f[j]
        yield Identity(along(f[j]), claimed, f"Part 5: f_{j}")
    moved = [x * y for x, y in zip(a, h if transposed else f, strict=True)]
    slope = inner(h, moved) - inner(h, f) * inner(a, f)
    c = inner(f, h) - target
    yield Identity(along(inner(f, h)), slope, "Part 6 and 7: <f, h> and c")
    yield Identity(along(c**2 / 2), slope * c, "Part 8: L")


ENTRIES = Theorem(
    key="as24.entry-derivatives",
    title="derivatives of u, α, f, c and L in one entry of X",
    statement=(
        "With a = A_{j0,i}: dα/dx_i = <a, u>, df/dx_i = a ∘ f - <a, f> f, dc/dx_i = <a ∘ f, h> - "
        "<f, h> <a, f>, dL/dx_i = c dc/dx_i, for L = c²/2 and c = <f, h> - E."
    ),
    source=Source(
        citation=CITATION,
        place="Lemma B.1, Parts 4 to 8",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="one row j0 and one column of h; scores without 1/d, as appendix B announces",
    experiments=(
        Symbolic(
            identities=partial(_entries, 3), covers="statement", scope="n = 3, all u, a, h and E"
        ),
        Symbolic(
            identities=partial(_entries, 4), covers="statement", scope="n = 4, all u, a, h and E"
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_entries, 3, transposed=True),
        covers="statement",
        scope="a ∘ h in place of a ∘ f",
    ),
)

# --- the cost -------------------------------------------------------------------------------------
# Multiplications and additions of Steps 1 to 5, (n, d) matrices, product of (m, k) by (k, l):
# m l (2 k - 1). Products with n twice among (m, k, l): A1 X times A2^T, f h, c h^T, p A2.
#
# 1. Products: A1 X and h = A3 Y, n d (2d - 1) each; (A1 X) A2^T and c h^T, n^2 (2d - 1) each;
#    f h and p A2, n d (2n - 1) each; A1^T (p A2), d^2 (2n - 1).
# 2. Entrywise: exp n^2; row sums n (n - 1); division n^2; minus E, n d.
# 3. p = f * q - r f: f * q, n^2; its row sums n (n - 1); r f, n^2; the difference n^2.


def _operations(size: int) -> int:
    """Flops of the five steps for n = size tokens and d = size // 2 + 1."""
    tally, n, d = Tally(), size, size // 2 + 1
    a1, a2, a3, e = (tally.array(np.ones((n, d))) for _ in range(4))
    x, y = (tally.array(np.ones((d, d))) for _ in range(2))
    u = tally.exp(tally.matmul(tally.matmul(a1, x), a2.T))
    f = u / tally.sum(u, axis=1, keepdims=True)
    h = tally.matmul(a3, y)
    c = tally.matmul(f, h) - e
    q = tally.matmul(c, h.T)
    p1 = f * q
    p = p1 - tally.sum(p1, axis=1, keepdims=True) * f
    tally.matmul(a1.T, tally.matmul(p, a2))
    return tally.flops


def _cost(size: int, entrywise: int = 7) -> int:
    n, d = size, size // 2 + 1
    products = 2 * n * d * (2 * d - 1) + 2 * n * n * (2 * d - 1)
    products += 2 * n * d * (2 * n - 1) + d * d * (2 * n - 1)
    return products + entrywise * n * n - 2 * n + n * d


COST = Theorem(
    key="as24.exact-cost",
    title="cost of the exact gradient",
    statement=(
        "The five steps take 2 n d (2d - 1) + 2 n² (2d - 1) + 2 n d (2n - 1) + d² (2n - 1) + 7 n² "
        "- 2 n + n d operations: 8 n² d + 5 n² to leading order in n."
    ),
    source=Source(
        citation=CITATION,
        place="Lemma C.8: O(Tmat(n, d, n) + Tmat(n, d, d)), with schoolbook products",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="additions, multiplications, divisions and exponentials, each counted as one",
    experiments=(
        Count(
            measured=_operations,
            formula=_cost,
            sizes=(1, 2, 5, 16, 40),
            covers="statement",
            scope="n = size, d = ⌊size/2⌋ + 1",
        ),
    ),
    expected=Status.PROVED,
    mutant=Count(
        measured=_operations,
        formula=partial(_cost, entrywise=6),
        sizes=(1, 2, 5, 16, 40),
        covers="statement",
        scope="6 n² in place of 7 n²",
    ),
    uses=("as24.gradient",),
)

THEOREMS = (ENTRIES, COST)
