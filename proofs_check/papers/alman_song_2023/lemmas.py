"""Two lemmas on which the error analysis of Alman & Song 2023 rests.

Citation and letters: `attention_error`.

Inequalities between polynomials on a box are proved by an identity, which computer algebra decides.
The difference of the two sides is a sum of products of factors that are not negative on the box.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from proofs_check.papers.alman_song_2023.source import CITATION
from proofs_check.papers.shared.certificates import Product, bounded_sum
from proofs_check.statements.experiment import Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- the size of a score --------------------------------------------------------------------------
# B^2 -+ q k = [(B - q)(B +- k) + (B + q)(B -+ k)] / 2, and every factor is >= 0 when |q|, |k| <= B.
# Summed over d coordinates and divided by d.


def _score_bound(d: int, count: int | None = None) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, *symbols = ring([*(f"q{c}" for c in range(d)), *(f"k{c}" for c in range(d)), "B"], QQ)
    q, k, b = symbols[:d], symbols[d:-1], symbols[-1]
    score = sum((x * y for x, y in zip(q, k, strict=True)), 0 * b)
    products: list[Product] = [((x, b), (y, b)) for x, y in zip(q, k, strict=True)]
    bound = (d if count is None else count) * b**2
    yield from bounded_sum(score, bound, products, f"d = {d}")


SCORE_BOUND = Theorem(
    key="as23.score-bound",
    title="size of a score",
    statement=(
        "|q·k|/d <= B² when all entries of q and k lie in [-B, B]; attained at q = ±k = B(1, ..., "
        "1)."
    ),
    source=Source(citation=CITATION, place="Lemma 3.3", fidelity="constants made explicit"),
    reading=(
        "d B² ∓ q·k is half a sum of products of factors B ± q_c, B ± k_c, none of them negative "
        "on the box"
    ),
    experiments=(
        Symbolic(
            identities=partial(_score_bound, 1), covers="statement", scope="d = 1, all q, k, B"
        ),
        Symbolic(
            identities=partial(_score_bound, 12), covers="statement", scope="d = 12, all q, k, B"
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_score_bound, 12, 11), covers="statement", scope="11 for d = 12"
    ),
    remarks=("The scale is 1/d. With the usual 1/sqrt(d) the bound is sqrt(d) B².",),
)

# --- the normaliser -------------------------------------------------------------------------------
# A~_j = A_j (1 + eps t_j), |t_j| <= 1, A_j > 0: eps D -+ (D~ - D) = eps sum_j A_j (1 -+ t_j).


def _normaliser(n: int, percent: int = 100) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, *symbols = ring([*(f"A{j}" for j in range(n)), *(f"t{j}" for j in range(n)), "eps"], QQ)
    a, t, eps = symbols[:n], symbols[n:-1], symbols[-1]
    exact = sum(a, 0 * eps)
    moved = sum((x * (1 + eps * y) for x, y in zip(a, t, strict=True)), 0 * eps)
    for sign in (1, -1):
        parts = sum((x * (1 - sign * y) for x, y in zip(a, t, strict=True)), 0 * eps) * eps
        yield Identity(
            eps * exact * percent / 100 - sign * (moved - exact),
            parts,
            f"eps D - ({sign})(D~ - D), n = {n}",
        )


NORMALISER_ERROR = Theorem(
    key="as23.normaliser-error",
    title="error of the normaliser",
    statement=(
        "|Ã_ij - A_ij| <= ε A_ij for all j implies |D̃_i - D_i| <= ε D_i, with equality when all "
        "deviations are extreme and of one sign."
    ),
    source=Source(citation=CITATION, place="Lemma 3.5", fidelity="constants made explicit"),
    reading="D̃ = diag(Ã 1), A entrywise positive; Ã_j = A_j (1 + ε t_j), |t_j| <= 1",
    experiments=(
        Symbolic(
            identities=partial(_normaliser, 6),
            covers="statement",
            scope="n = 6 keys, all A, t and ε",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_normaliser, 2, 95),
        covers="statement",
        scope="0.95 ε D in place of ε D",
    ),
)

THEOREMS = (SCORE_BOUND, NORMALISER_ERROR)
