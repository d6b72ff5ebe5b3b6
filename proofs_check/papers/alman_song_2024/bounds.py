"""Bounds behind the lower bound and the low-rank steps of Alman & Song 2024; tensor scores.

Citation and letters: `gradient`; of the tensor scores, `tensor`.

f(lambda)        |softmax(lambda A) V|_F^2, with 0 <= A <= B and 0 <= V <= 1, V of d columns
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import ball, softmax
from proofs_check.papers.alman_song_2024.source import CITATION, TENSOR
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import Assumption, Identity, Instance, Symbolic
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- the derivative in the lower bound ------------------------------------------------------------
# 1. A row has the output o = sum_j p_j v_j with o' = Cov_p(a, v), so f' = sum 2 o o' over rows and
#    columns.
# 2. For 0 <= a <= B, |Cov(a, v)| <= (B/2) E|v - o|.
# 3. For 0 <= v <= 1, E|v - o| <= 2 o (1 - o): it is convex in v, hence largest for v in {0, 1}.
# 4. By 2 and 3, |2 o o'| <= 2 B o^2 (1 - o).
# 5. t^2 (1 - t) <= 4/27 on [0, 1], since 4/27 - t^2 (1 - t) = (t - 2/3)^2 (t + 1/3).
# 6. So |2 o o'| <= 8 B/27 for each row and column.
# 7. Two keys with a = (0, B), v = (0, 1) and lambda B = ln 2 attain it in every row and column. So
#    the
#    bound has to grow with d.


def _rows() -> Any:
    from hypothesis import strategies as st

    def of_size(n: int) -> Any:
        return st.fixed_dictionaries(
            {
                "a": st.lists(
                    st.lists(st.integers(0, 2), min_size=n, max_size=n), min_size=n, max_size=n
                ),
                "v": st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=n, max_size=n),
                "columns": st.integers(1, 64),
                "eighths": st.integers(1, 24),
            }
        )

    return st.integers(1, 3).flatmap(of_size)


def _derivative(instance: Instance) -> Any:
    """Enclose f' at lambda = eighths / 8, the columns of V all equal."""
    v, rate, total = (
        [ball(x) for x in instance["v"]],
        ball(Fraction(instance["eighths"], 8)),
        ball(0),
    )
    for row in instance["a"]:
        p = softmax([rate * ball(a) for a in row])
        mean = sum((x * y for x, y in zip(p, v, strict=True)), ball(0))
        slope = sum((x * ball(a) * (y - mean) for x, a, y in zip(p, row, v, strict=True)), ball(0))
        total += 2 * mean * slope
    return abs(total) * instance["columns"]


def _size(instance: Instance) -> int:
    return max((max(row) for row in instance["a"]), default=0)


def _measured(instance: Instance) -> float:
    a, v = (
        np.asarray(instance["a"], float) * instance["eighths"] / 8,
        np.asarray(instance["v"], float),
    )
    p = np.exp(a - a.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    o = p @ v
    slope = np.sum(p * np.asarray(instance["a"], float) * (v[None, :] - o[:, None]), axis=1)
    return abs(float(np.sum(2 * o * slope))) * float(instance["columns"])


def _printed(instance: Instance) -> tuple[Any, int]:
    """The derivative against 8 B n."""
    return _derivative(instance), 8 * _size(instance) * len(instance["a"])


def _corrected(instance: Instance, share: Fraction = Fraction(1)) -> tuple[Any, Fraction]:
    """The derivative against a share of 8 B n d/27."""
    derivative, printed = _printed(instance)
    return derivative, share * Fraction(printed * int(instance["columns"]), 27)


def _in_unit_interval(instance: Instance) -> bool:
    return all(0 <= v <= 1 for v in instance["v"]) and all(
        a >= 0 for row in instance["a"] for a in row
    )


_UNIT = Assumption(
    text="0 <= A <= B and 0 <= V <= 1 entry by entry",
    predicate=_in_unit_interval,
    generator=_rows,
)
_WITNESS: Instance = {"a": [[0, 2], [0, 2]], "v": [0.0, 1.0], "columns": 64, "eighths": 3}
_PLACE = "E.3, the derivative of f in the lower bound"


def _largest_cubic(top: Fraction = Fraction(4, 27)) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, t = ring("t", QQ)
    third = QQ(1, 3)
    yield Identity(
        QQ(top.numerator, top.denominator) - t**2 * (1 - t),
        (t - 2 * third) ** 2 * (t + third),
        "4/27 - t^2 (1 - t)",
    )
    # step 3: v in {0, 1} with mean o deviates by 1 - o with probability o, by o otherwise
    yield Identity(
        t * (1 - t) + (1 - t) * t, 2 * t * (1 - t), "mean deviation of a Bernoulli variable"
    )


DERIVATIVE_PRINTED = Theorem(
    key="as24.derivative-printed",
    title="a bound of the derivative without the width of V",
    statement=(
        "|f'(λ)| <= 8 B n for f(λ) = ‖softmax(λ A) V‖_F², 0 <= A <= B, 0 <= V <= 1, A n × n, "
        "whatever the number d of columns of V."
    ),
    source=Source(citation=CITATION, place=_PLACE, fidelity="constants made explicit"),
    reading="B the largest entry of A; every n, d and λ > 0",
    alternative_readings=("d a constant, or at most 27: true by as24.derivative-bound",),
    assumptions=(_UNIT,),
    experiments=(
        search_by(
            _printed,
            instances=_rows,
            measured=_measured,
            assumptions=(_UNIT,),
            examples=(_WITNESS,),
            scope="n from 1 to 3, entries of A 0, 1, 2, up to 64 equal columns of V in {0, 1/2, 1}",
        ),
    ),
    expected=Status.REFUTED,
    mutant=search_by(
        partial(_corrected, share=Fraction(3, 4)),
        instances=_rows,
        measured=_measured,
        assumptions=(_UNIT,),
        examples=(_WITNESS,),
        scope="three quarters of the true bound",
    ),
    repaired_by="as24.derivative-bound",
    by_hand=ByHand(
        instance=(
            "n = 2, scores (0, 1) in both rows, B = 1, values (0, 1) in each of d = 28 columns, λ "
            "= ln 2."
        ),
        shows=(
            "Every output is 2/3 with derivative 2/9, so f' = 2·28·2·(2/3)(2/9) = 16.59, above 8 B "
            "n = 16."
        ),
    ),
    remarks=(
        "f is reconstructed from its use, up to a constant factor.",
        "Harmless for the theorem, where d = O(log n): the bound is used up to powers of n.",
    ),
)

DERIVATIVE = Theorem(
    key="as24.derivative-bound",
    title="the derivative with the width of V",
    statement=(
        "|f'(λ)| <= (8/27) B n d for f(λ) = ‖softmax(λ A) V‖_F², 0 <= A <= B, 0 <= V <= 1, V n × "
        "d; attained at n = 2, λ B = ln 2."
    ),
    source=Source(citation=CITATION, place=f"{_PLACE}, the width kept", fidelity="corrected"),
    reading=(
        "every n, d, λ > 0; the proof is in the comment above the entry, its last step is decided "
        "here"
    ),
    assumptions=(_UNIT,),
    experiments=(
        Symbolic(
            identities=_largest_cubic, scope="the largest t² (1 - t) on [0, 1] is 4/27, all t"
        ),
        search_by(
            _corrected,
            instances=_rows,
            measured=_measured,
            assumptions=(_UNIT,),
            examples=(_WITNESS,),
            scope="n from 1 to 3, entries of A 0, 1, 2, up to 64 equal columns of V in {0, 1/2, 1}",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_largest_cubic, top=Fraction(1, 7)), scope="1/7 in place of 4/27"
    ),
)

# --- the hypothesis of the low-rank step ----------------------------------------------------------
# The scores are A1 X A2^T / d; |A1 X| and |A2| bound them, |A1^T X| does not see them.


def _transposed_hypothesis(*, untransposed: bool = False) -> Iterator[Identity]:
    """Scores of more than B^2 = 1 although every entry of A1^T X (or of A1 X) and A2 is at most B =
    1.
    """
    a1, x, a2, d = (
        np.array([[0, 1], [0, 0]]),
        np.array([[0, 0], [4, 0]]),
        np.array([[1, 0], [0, 0]]),
        2,
    )
    bounded = a1 @ x if untransposed else a1.T @ x
    satisfied = bool(np.all(np.abs(bounded) <= 1) and np.all(np.abs(a2) <= 1))
    top = Fraction(int(np.max(np.abs(a1 @ x @ a2.T))), d)
    yield Identity(
        int(satisfied and top > 1), 0, f"n = d = 2: |A1^T X|, |A2| <= 1, and a score of {top}"
    )


def _right_hypothesis() -> Iterator[Identity]:
    for identity in _transposed_hypothesis(untransposed=True):
        yield Identity(identity.lhs, 1, "that these matrices satisfy |A1 X|, |A2| <= 1")


HYPOTHESIS = Theorem(
    key="as24.hypothesis-printed",
    title="the hypothesis of the low-rank step, transposed",
    statement="‖A₁ᵀ X‖∞ <= B and ‖A₂‖∞ <= B imply |A₁ X A₂ᵀ| / d <= B², entry by entry.",
    source=Source(
        citation=CITATION,
        place="Lemma D.1, hypothesis ‖A₁ᵀ X‖",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "what the (ε, r)-approximation of exp needs of its scores; n = d, so that the product "
        "exists"
    ),
    alternative_readings=(
        "‖A₁ X‖∞ <= B, as in Definition 1.4: true, as23.score-bound with q = A₁ X",
    ),
    experiments=(
        Symbolic(
            identities=_transposed_hypothesis,
            grade="exact-rational",
            scope="n = d = 2, B = 1: one witness",
        ),
    ),
    expected=Status.REFUTED,
    mutant=Symbolic(
        identities=_right_hypothesis,
        grade="exact-rational",
        scope="the same matrices satisfy ‖A₁ X‖ <= 1",
    ),
    repaired_by="as23.score-bound",
    by_hand=ByHand(
        instance=(
            "n = d = 2, B = 1: A₁ has a 1 at (1, 2), X a 4 at (2, 1), A₂ a 1 at (1, 1), all else 0."
        ),
        shows=(
            "A₁ᵀ X = 0 and |A₂| <= 1, but A₁ X has a 4 at (1, 1), and the score there is 4/2 = 2, "
            "above B² = 1."
        ),
    ),
)

# --- the width of q -------------------------------------------------------------------------------
# q = c h^T with c = f h - E and h of d columns: U2 = c, V2 = h, whatever the rank of f.


def _width(*, zero: bool = False) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, *s = ring(["f00", "f01", "f10", "f11", "h0", "h1", "e0", "e1"], QQ)
    f, h, e = (
        np.array(s[:4], dtype=object).reshape(2, 2),
        np.array(s[4:6], dtype=object),
        np.array(s[6:], dtype=object),
    )
    c = f @ h - e
    q = np.outer(c, h)
    if zero:
        yield Identity(q[0, 0], 0 * s[0], "q = 0")
    yield Identity(
        q[0, 0] * q[1, 1], q[0, 1] * q[1, 0], "d = 1: the 2 x 2 minor of q vanishes, f of rank 2"
    )


WIDTH = Theorem(
    key="as24.q-width",
    title="width of the low-rank form of q",
    statement=(
        "q = c hᵀ with c = f h - E has rank at most d, the width of h, whatever the rank of f; so "
        "U₂ = c̃, V₂ = h and k₂ = d."
    ),
    source=Source(
        citation=CITATION,
        place="Lemma D.3, which has k₂ = max{d, k} + d",
        fidelity="corrected",
        wording_verified=True,
    ),
    experiments=(
        Symbolic(
            identities=_width,
            scope="d = 1 and n = 2, f of full rank: all 2 x 2 minors, all inputs",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(identities=partial(_width, zero=True), scope="rank 0"),
    uses=("as24.khatri-rao",),
    remarks=(
        "The printed width is an upper bound too; with k₂ = d the product of Lemma D.4 has k₁ d "
        "columns.",
    ),
)

# --- tensor scores --------------------------------------------------------------------------------
# d B^3 - s q k l summed = sum_c (B^3 - s q_c k_c l_c); 4 (B^3 - s x y z) is a sum of products of (B
# +- x), (B +- y), (B +- z) with positive signs.


def _cubes(*, quarter: int = 4) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, b, x, y, z = ring("B x y z", QQ)
    for s in (1, -1):
        parts = (
            (b - s * x) * (b - y) * (b - z)
            + (b - s * x) * (b + y) * (b + z)
            + (b + s * x) * (b - y) * (b + z)
            + (b + s * x) * (b + y) * (b - z)
        )
        yield Identity(quarter * (b**3 - s * x * y * z), parts, f"sign {s}")


TENSOR_SCORE = Theorem(
    key="as24b.score-bound",
    title="size of a score of tensor attention",
    statement=(
        "|Σ_c q_c a_c b_c| / d <= B³ when all entries lie in [-B, B]; attained by entries B. Hence "
        "the threshold (log n)^{1/3}."
    ),
    source=Source(citation=TENSOR, place="bounded entries", fidelity="constants made explicit"),
    experiments=(
        Symbolic(
            identities=_cubes,
            scope=(
                "one term: 4 (B³ ∓ x y z) as a sum of products of B ± x, B ± y, B ± z; all x, y, z"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(identities=partial(_cubes, quarter=3), scope="3 (B³ ∓ x y z)"),
)

THEOREMS = (DERIVATIVE_PRINTED, DERIVATIVE, HYPOTHESIS, WIDTH, TENSOR_SCORE)
