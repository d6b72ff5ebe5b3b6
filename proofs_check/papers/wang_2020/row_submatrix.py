"""Linformer's branch of k that does not depend on n: what its 2d chosen rows give.

Citation and letters: `theorem_1`. Equations (25) and (26) and the lines after them.

    M            (n, 2d), the rows [exp(A_i E^T) F V, exp(A_i) V]
    M_s          2d rows of M, chosen so that they determine the others
    Gamma        M M_s^-1: row i holds the coefficients of row i of M

The paper bounds the error of row i by |Gamma_i| times the errors of the chosen rows, asserts
|Gamma_i| = Theta(d) and bounds a sum of norms by a norm. "Based on the fact that rank(A) = d" the
rows are chosen; but M has 2d columns, so 2d rows suffice for any A.

Rows of maximal volume:

1. Let |det M_s| be largest among all choices of 2d rows, and not 0.
2. By Cramer's rule Gamma_ij = det(M_s with row j replaced by row i of M)/det M_s.
3. The numerator is the determinant of another choice, or 0. So |Gamma_ij| <= 1 and |Gamma_i| <=
   sqrt(2d).
4. M = [1; (1, ..., 1)] attains sqrt(2d) under every choice: one row of the unit matrix is left
   out, or none, and the row left over is sum or difference of all others.

For d = 1, E choosing the first of two keys, V = (1, 1), and scores (a_i ln 2, 0):

5. Row i of M is (2^{a_i}, 2^{a_i} + 1), and rows 1 and 2 give row 3 the coefficients 1 - b and b,
   b = (2^{a_3} - 2^{a_1})/(2^{a_2} - 2^{a_1}).
6. b grows without bound with a_3 although every step of the text goes through.

Others:

7. The sum of m norms is at most sqrt(m) times the root of the sum of squares (Cauchy and Schwarz),
   with equality for equal norms.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.wang_2020.source import CITATION
from proofs_check.statements.experiment import (
    Assumption,
    Comparison,
    Enclose,
    Falsify,
    Identity,
    Instance,
    Symbolic,
)
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- coefficients of the rows that are not chosen -------------------------------------------------


def _three_rows() -> Any:
    from hypothesis import strategies as st

    return st.lists(st.integers(0, 14), min_size=3, max_size=3).map(lambda a: {"exponents": a})


def _first_two_differ(instance: Instance) -> bool:
    a = instance["exponents"]
    return bool(a[0] != a[1])


_CHOSEN = Assumption(
    text="d = 1, scores (a_i ln 2, 0), and the two chosen rows, the first ones, are independent",
    predicate=_first_two_differ,
)


def _coefficients(chosen: Sequence[int], other: int) -> tuple[Fraction, Fraction]:
    """Coefficients of row `other` of M in the two chosen rows, by exponents."""
    first, second = (2**a for a in chosen)
    b = Fraction(2**other - first, second - first)
    return 1 - b, b


def _first_choice(instance: Instance, most: int = 1000) -> tuple[Fraction, Fraction]:
    """|Gamma_3|^2 for the first two rows as the chosen ones, against the square of `most`."""
    *chosen, other = instance["exponents"]
    a, b = _coefficients(chosen, other)
    return a * a + b * b, Fraction(most * most)


def _best_choice(instance: Instance) -> tuple[Fraction, Fraction]:
    """Largest |Gamma_i|^2 for the pair of largest volume, against 2 d = 2."""
    exponents = instance["exponents"]
    pairs = list(itertools.combinations(exponents, 2))
    best = max(pairs, key=lambda pair: abs(2 ** pair[1] - 2 ** pair[0]))
    sizes = [sum((x * x for x in _coefficients(best, a)), Fraction(0)) for a in exponents]
    return max(sizes), Fraction(2)


def _over_rows(confirm: Any) -> Falsify:
    return search_by(
        confirm,
        instances=_three_rows,
        assumptions=(_CHOSEN,),
        examples=_EXAMPLES,
        tries=150,
        scope="d = 1, three rows, scores (a_i ln 2, 0) with whole a_i up to 14",
    )


_EXAMPLES: tuple[Instance, ...] = ({"exponents": [0, 1, 10]},)

ANY_ROWS = Theorem(
    key="linformer.row-coefficients",
    title="coefficients of the rows that were not chosen",
    statement=(
        "‖Γ_i‖ = Θ(d) for every row i, when 2d rows are chosen so that they determine the others; "
        "here ‖Γ_i‖ <= 1000 d."
    ),
    source=Source(
        citation=CITATION,
        place="appendix B, step (b) after eq. (26): ‖Γ_i‖ = Θ(d)",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="d = 1, E choosing the first of two keys, V = (1, 1); 1000 for the constant of Θ",
    alternative_readings=(
        "With rows of maximal volume it holds, even with sqrt(2d): linformer.maximal-volume-rows.",
    ),
    assumptions=(_CHOSEN,),
    experiments=(_over_rows(_first_choice),),
    expected=Status.REFUTED,
    mutant=_over_rows(partial(_first_choice, most=1400)),
    repaired_by="linformer.maximal-volume-rows",
    repaired=_over_rows(_best_choice),
    kind="printed",
    by_hand=ByHand(
        instance=(
            "d = 1, scores (a_i ln 2, 0) with a = 0, 1, 10, V = (1, 1), E and F choosing the first "
            "key: the rows of [exp(A Eᵀ) F V, exp(A) V] are (1, 2), (2, 3), (1024, 1025)."
        ),
        shows=(
            "Rows 1 and 2 determine row 3 = -1022 row 1 + 1023 row 2, so ‖Γ_3‖ = 1446; with a_3 = "
            "20 it is over a million."
        ),
    ),
    defence=(
        "The text does not say which 2d rows, and a good choice exists: rows of maximal volume "
        "give sqrt(2d), better than Θ(d). The step can be mended so. It does not help the proof: "
        "those rows depend on E and F, so the probability bound for 2d rows fixed beforehand does "
        "not apply to them."
    ),
)

# --- maximal volume -------------------------------------------------------------------------------


def determinant(rows: Sequence[Sequence[Any]]) -> Any:
    """Leibniz's formula."""
    total = 0 * rows[0][0]
    for order in itertools.permutations(range(len(rows))):
        inversions = sum(a > b for a, b in itertools.combinations(order, 2))
        total += (-1) ** inversions * math.prod(
            (row[j] for row, j in zip(rows, order, strict=True)), start=rows[0][0] ** 0
        )
    return total


def _cramer() -> Iterator[Identity]:
    """Step 2: det M_s times a row is the sum of the replaced determinants times the rows of M_s."""
    from sympy import QQ, ring

    for m in (2, 4):
        _, *s = ring(
            [*(f"s{i}{j}" for i in range(m) for j in range(m)), *(f"r{j}" for j in range(m))], QQ
        )
        rows, other = [s[i * m : (i + 1) * m] for i in range(m)], s[m * m :]
        replaced = [determinant([*rows[:i], other, *rows[i + 1 :]]) for i in range(m)]
        whole = determinant(rows)
        for j in range(m):
            parts = sum((d * row[j] for d, row in zip(replaced, rows, strict=True)), 0 * whole)
            yield Identity(whole * other[j], parts, f"2d = {m}, column {j}")


def _every_choice() -> Iterator[tuple[str, Fraction]]:
    """|Gamma_i|^2 of the row left over, for every choice from [1; (1, ..., 1)]."""
    for m in (2, 4):
        unit = [[Fraction(int(i == j)) for j in range(m)] for i in range(m)]
        rows = [*unit, [Fraction(1)] * m]
        for left in range(m + 1):
            base, other = [row for i, row in enumerate(rows) if i != left], rows[left]
            whole = determinant(base)
            replaced = [determinant([*base[:i], other, *base[i + 1 :]]) for i in range(m)]
            yield f"2d = {m}, row {left} left over", sum((d / whole) ** 2 for d in replaced)


def _attained(_bits: int, part: Fraction = Fraction(1)) -> list[Comparison]:
    return [
        Comparison(size, part * int(label.split()[2].rstrip(",")), label)
        for label, size in _every_choice()
    ]


MAXIMAL = Theorem(
    key="linformer.maximal-volume-rows",
    title="coefficients in rows of maximal volume",
    statement=(
        "If the 2d rows have the largest |det|, every other row has coefficients in [-1, 1], so "
        "‖Γ_i‖ <= sqrt(2d); some matrices attain it under every choice of 2d rows."
    ),
    source=Source(
        citation=CITATION,
        place="appendix B, eqs. (25), (26)",
        fidelity="corrected",
        wording_verified=True,
    ),
    reading="M of rank 2d; with lower rank fewer rows do",
    experiments=(
        Symbolic(
            identities=_cramer,
            covers="statement",
            scope="Cramer's rule for 2d = 2 and 4, all rows; numerators are other choices",
        ),
        Enclose(
            certify=_attained,
            covers="statement",
            scope="[1; (1, ..., 1)], 2d = 2, 4, every choice: ‖Γ_i‖² = 2d",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_attained, part=Fraction(99, 100)),
        covers="statement",
        scope="0.99 · 2d in place of 2d",
    ),
    remarks=(
        'Only the number of columns of M enters: "based on the fact that rank(A) = d" is not '
        "used. exp(A) itself has rank 3 for three distinct queries and keys already at d = 1 "
        "(linformer.rank-of-exponential).",
    ),
)

# --- the rank of exp(A) ---------------------------------------------------------------------------


def _generalised_vandermonde() -> Iterator[Identity]:
    """Three queries ln x_i and whole keys: det(x_i^{k_j}) over the Vandermonde determinant."""
    from sympy import QQ, ring

    _, *x = ring("x0, x1, x2", QQ)
    base = (x[1] - x[0]) * (x[2] - x[0]) * (x[2] - x[1])
    for keys in itertools.combinations(range(6), 3):
        whole = determinant([[y**k for k in keys] for y in x])
        (quotient,), rest = whole.div([base])
        yield Identity(rest, 0, f"keys {keys}: rest")
        yield Identity(sum(c <= 0 for c in quotient.coeffs()), 0, f"keys {keys}: signs")


def _rank_one(second: tuple[int, int] = (1, 0)) -> Iterator[Identity]:
    """Q = ((0, 0), second), K = ((0, 0), (0, 1)): the 2 x 2 minor of exp(Q K^T), in powers of 2."""
    q, k = ((0, 0), second), ((0, 0), (0, 1))
    e = [[2 ** sum(a * b for a, b in zip(x, y, strict=True)) for y in k] for x in q]
    yield Identity(e[0][0] * e[1][1] - e[0][1] * e[1][0], 0, "minor at d = 2")


def _ranks(second: tuple[int, int] = (1, 0)) -> Iterator[Identity]:
    yield from _generalised_vandermonde()
    yield from _rank_one(second)


RANK = Theorem(
    key="linformer.rank-of-exponential",
    title="rank of the exponential of a matrix of rank d",
    statement=(
        "At d = 1 exp(Q Kᵀ) has full rank for distinct queries and distinct keys; at d = 2 it may "
        "have rank 1 although they are distinct. So rank(A) = d bounds no rank of exp(A)."
    ),
    source=Source(
        citation=CITATION,
        place="appendix B, before eq. (25): rank(A) = d",
        fidelity="ours",
        wording_verified=True,
    ),
    reading="entry by entry exponentials; three tokens, keys whole multiples of a number",
    experiments=(
        Symbolic(
            identities=_ranks,
            covers="statement",
            scope=(
                "d = 1, three queries, all triples of whole keys from 0 to 5: the determinant is "
                "Vandermonde's times a polynomial with positive coefficients; d = 2, two tokens"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_ranks, second=(1, 1)),
        covers="statement",
        scope="the second query (1, 1) in place of (1, 0)",
    ),
)

# --- a sum of norms -------------------------------------------------------------------------------


def _two_rows() -> Any:
    from hypothesis import strategies as st

    row = st.lists(st.integers(-3, 3), min_size=2, max_size=2)
    return st.lists(row, min_size=2, max_size=2).map(lambda rows: {"exponents": rows})


def _sum_of_norms(instance: Instance, square: Fraction = Fraction(1)) -> tuple[Any, Any]:
    """Sum of the norms of the rows of exp(A_s), and the root of `square` times their squares."""
    squares = [sum(Fraction(4) ** e for e in row) for row in instance["exponents"]]
    return sum((ball(x).sqrt() for x in squares), ball(0)), ball(square * sum(squares)).sqrt()


def _over_blocks(square: Fraction) -> Falsify:
    return search_by(
        partial(_sum_of_norms, square=square),
        instances=_two_rows,
        examples=_EQUAL_ROWS,
        tries=150,
        scope="d = 1, two chosen rows, scores (exponents) ln 2",
    )


_EQUAL_ROWS: tuple[Instance, ...] = ({"exponents": [[0, 0], [0, 0]]},)

SUM = Theorem(
    key="linformer.sum-of-row-norms",
    title="a sum of norms against the norm of the block",
    statement="Σ_{i<=2d} ‖exp(A_i^s)‖ <= ‖exp(A^s)‖ for the 2d chosen rows.",
    source=Source(
        citation=CITATION,
        place="appendix B, the last step after eq. (26)",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="Frobenius norm of the block, the largest of the usual ones; d = 1",
    alternative_readings=("With the spectral norm of the block the right side is smaller still.",),
    experiments=(_over_blocks(Fraction(1)),),
    expected=Status.REFUTED,
    mutant=_over_blocks(Fraction(99, 50)),
    repaired_by="linformer.sum-of-row-norms-corrected",
    repaired=_over_blocks(Fraction(2)),
    kind="printed",
    by_hand=ByHand(
        instance="d = 1, two chosen rows with scores (0, 0), so exp(A^s) is all ones.",
        shows="The sum of norms is 2 sqrt 2 = 2.83, the norm of the block 2.",
    ),
    defence=(
        "The line above it has the root of the sum of squares, which is the Frobenius norm of the "
        "block, so the detour over the sum can be left out; otherwise it costs a factor sqrt(2d), "
        "which the printed Θ(d) does not mention. Harmless to the order in n."
    ),
)


def _cauchy() -> Iterator[Identity]:
    from sympy import QQ, ring

    for m in (2, 4, 6):
        _, *x = ring([f"x{i}" for i in range(m)], QQ)
        squares = sum((y * y for y in x), 0 * x[0])
        pairs = itertools.combinations(range(m), 2)
        spread = sum(((x[i] - x[j]) ** 2 for i, j in pairs), 0 * x[0])
        yield Identity(m * squares - sum(x) ** 2, spread, f"2d = {m}")


SUM_CORRECTED = Theorem(
    key="linformer.sum-of-row-norms-corrected",
    title="a sum of norms by the norm of the block, with its factor",
    statement="Σ_{i<=2d} ‖exp(A_i^s)‖ <= sqrt(2d) ‖exp(A^s)‖_F, attained by rows of equal norm.",
    source=Source(
        citation=CITATION,
        place="appendix B, the last step after eq. (26)",
        fidelity="corrected",
        wording_verified=True,
    ),
    reading="the inequality of Cauchy and Schwarz for the 2d norms",
    experiments=(
        Symbolic(identities=_cauchy, covers="statement", scope="2d = 2, 4, 6, all norms"),
        _over_blocks(Fraction(2)),
    ),
    expected=Status.PROVED,
    mutant=_over_blocks(Fraction(99, 50)),
)

THEOREMS = (ANY_ROWS, MAXIMAL, RANK, SUM, SUM_CORRECTED)
