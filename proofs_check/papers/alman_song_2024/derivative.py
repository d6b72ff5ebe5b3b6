"""The first derivative behind the lower bound of Alman & Song 2024 (Lemma E.3).

Citation: `source`. The second derivative, and the number of points: `lower_bound`.

    A            n × n scores in [0, B], at least half of each row equal to B
    V            n × d with entries 0 and 1
    f(lambda)    |softmax(lambda A) V|_F^2
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import ball, softmax
from proofs_check.papers.alman_song_2024.source import CITATION
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import Assumption, Falsify, Identity, Instance, Symbolic
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# One row with weights p and scores a in [0, B], and one column v in {0, 1}; S the keys with v = 1:
#
# 1. The output is o = p(S), and o' = Cov_p(a, v) = (1 - o) sum_S p_j a_j - o sum_{not S} p_j a_j.
# 2. o (1 - o) B - o' = (1 - o) sum_S p_j (B - a_j) + o sum_{not S} p_j a_j >= 0.
# 3. o (1 - o) B + o' = (1 - o) sum_S p_j a_j + o sum_{not S} p_j (B - a_j) >= 0.
# 4. 4/27 - t^2 (1 - t) = (t - 2/3)^2 (t + 1/3) >= 0 for t >= 0.
# 5. So 8 B/27 -+ 2 o o' = 2 B (o - 2/3)^2 (o + 1/3) + 2 o (the right side of 2, or of 3) >= 0.
# 6. f' is the sum of 2 o o' over n rows and d columns.
# 7. Two keys with a = (0, B), v = (0, 1) and lambda B = ln 2 attain it in every row and column.


def _row_certificate(keys: int, marked: int) -> Iterator[Identity]:
    """Step 5 for a row of so many keys, the first `marked` of them with v = 1."""
    from sympy import QQ, ring

    names = [*(f"p{j}" for j in range(1, keys)), *(f"a{j}" for j in range(keys)), "B"]
    _, *symbols = ring(names, QQ)
    rest, a, top = symbols[: keys - 1], symbols[keys - 1 : -1], symbols[-1]
    p = [1 - sum(rest, 0 * top), *rest]
    o = sum(p[:marked], 0 * top)
    mean = sum((x * y for x, y in zip(p, a, strict=True)), 0 * top)
    slope = sum((p[j] * (a[j] - mean) for j in range(marked)), 0 * top)
    square = 2 * top * (o - QQ(2, 3)) ** 2 * (o + QQ(1, 3))
    for sign in (1, -1):
        up = [top - a[j] if (j < marked) == (sign == 1) else a[j] for j in range(keys)]
        inside = (1 - o) * sum((p[j] * up[j] for j in range(marked)), 0 * top)
        outside = o * sum((p[j] * up[j] for j in range(marked, keys)), 0 * top)
        claimed = square + 2 * o * (inside + outside)
        label = f"{keys} keys, {marked} marked, sign {sign}"
        yield Identity(QQ(8, 27) * top - sign * 2 * o * slope, claimed, label)


def _certificates() -> Iterator[Identity]:
    for keys in (1, 2, 3, 4):
        for marked in range(keys + 1):
            yield from _row_certificate(keys, marked)


def _matrices() -> Any:
    from hypothesis import strategies as st

    def of_size(n: int) -> Any:
        least = (n + 1) // 2
        free = st.lists(st.integers(0, 2), min_size=n - least, max_size=n - least)
        row = free.map(lambda rest: [*rest, *[2] * least])
        return st.fixed_dictionaries(
            {
                "a": st.lists(row, min_size=n, max_size=n),
                "v": st.lists(st.integers(0, 1), min_size=n, max_size=n),
                "columns": st.integers(1, 64),
                "eighths": st.integers(1, 24),
            }
        )

    return st.integers(1, 4).flatmap(of_size)


def _largest(instance: Instance) -> int:
    return int(max(max(row) for row in instance["a"]))


def _in_the_lemma(instance: Instance) -> bool:
    b, rows = _largest(instance), instance["a"]
    in_range = all(a >= 0 for row in rows for a in row) and set(instance["v"]) <= {0, 1}
    return in_range and all(2 * row.count(b) >= len(row) for row in rows)


_LEMMA = Assumption(
    text="0 <= A <= B, at least half of each row equal to B, entries of V in {0, 1}",
    predicate=_in_the_lemma,
    generator=_matrices,
)


def _derivative(instance: Instance) -> Any:
    """Enclose |f'| at lambda = eighths / 8, the columns of V all equal."""
    rate, total = ball(Fraction(instance["eighths"], 8)), ball(0)
    for row in instance["a"]:
        p = softmax([rate * ball(a) for a in row])
        mean = sum((x * y for x, y in zip(p, instance["v"], strict=True)), ball(0))
        terms = zip(p, row, instance["v"], strict=True)
        total += 2 * mean * sum((x * a * (y - mean) for x, a, y in terms), ball(0))
    return abs(total) * instance["columns"]


def _measured(instance: Instance) -> float:
    a = np.asarray(instance["a"], float)
    p = np.exp((a - a.max(axis=1, keepdims=True)) * instance["eighths"] / 8)
    p /= p.sum(axis=1, keepdims=True)
    v = np.asarray(instance["v"], float)
    o = p @ v
    slope = np.sum(p * a * (v[None, :] - o[:, None]), axis=1)
    return abs(float(np.sum(2 * o * slope))) * float(instance["columns"])


def _printed(instance: Instance) -> tuple[Any, int]:
    """The derivative against 8 B n."""
    return _derivative(instance), 8 * _largest(instance) * len(instance["a"])


def _corrected(instance: Instance, share: Fraction = Fraction(1)) -> tuple[Any, Fraction]:
    """The derivative against a share of 8 B n d/27."""
    derivative, printed = _printed(instance)
    return derivative, share * Fraction(printed * int(instance["columns"]), 27)


_EXAMPLES: tuple[Instance, ...] = (
    {"a": [[0, 2], [0, 2]], "v": [0, 1], "columns": 64, "eighths": 3},
)
_SCOPE = "n from 1 to 4, entries of A 0, 1, 2, half of each row 2, up to 64 equal columns of V"


def _search(confirm: Any, scope: str = _SCOPE) -> Falsify:
    return search_by(
        confirm,
        instances=_matrices,
        measured=_measured,
        assumptions=(_LEMMA,),
        examples=_EXAMPLES,
        scope=scope,
    )


DERIVATIVE_PRINTED = Theorem(
    key="as24.derivative-printed",
    title="a bound of the derivative without the width of V",
    statement=(
        "|f'(λ)| <= 8 B n for f(λ) = ‖softmax(λ A) V‖_F², 0 <= A <= B, at least half of each row "
        "of A equal to B, V n × d with entries 0 and 1, whatever d is."
    ),
    source=Source(
        citation=CITATION,
        place="Lemma E.3, |f'(λ)| <= O(B n), with the constant 8 of its proof",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading='every n, d and λ > 0: the lemma says "let V be any n × d matrix"',
    alternative_readings=("d a constant, or at most 27: true by as24.derivative-bound.",),
    assumptions=(_LEMMA,),
    experiments=(_search(_printed),),
    expected=Status.REFUTED,
    mutant=_search(partial(_corrected, share=Fraction(19, 20)), "95 % of the true bound"),
    repaired_by="as24.derivative-bound",
    repaired=_search(_corrected, "with the factor d: (8/27) B n d"),
    kind="printed",
    defence=(
        "The lemma serves Theorem E.5, where d = O(log n), and the theorem can afford powers of "
        "log n; so nothing depends on it. But the lemma and its proof are stated for any d, and "
        "the step that loses d is visible: equation (9) bounds a(λ, i), a sum over d columns, by "
        "n² e^(2Bλ), which bounds one column."
    ),
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
        "The second derivative of the same lemma, O(B² n), needs d as well: "
        "as24.second-derivative.",
        "Equations (8) and (10) use entries of at least 1, where the lemma has [0, B]; the bound "
        "of f' does not need it.",
    ),
)

DERIVATIVE = Theorem(
    key="as24.derivative-bound",
    title="the derivative with the width of V",
    statement=(
        "|f'(λ)| <= (8/27) B n d for f(λ) = ‖softmax(λ A) V‖_F², 0 <= A <= B, V n × d with entries "
        "0 and 1; attained at n = 2, λ B = ln 2."
    ),
    source=Source(
        citation=CITATION,
        place="Lemma E.3, the width kept and the constant the least possible",
        fidelity="corrected",
        wording_verified=True,
    ),
    reading="every n, d and real λ; half of each row equal to B is not needed",
    assumptions=(_LEMMA,),
    experiments=(
        Symbolic(
            identities=_certificates,
            covers="statement",
            scope="rows of 1 to 4 keys, any number of rows and columns, all weights and scores",
        ),
        _search(_corrected),
    ),
    expected=Status.PROVED,
    mutant=_search(partial(_corrected, share=Fraction(19, 20)), "95 % of the constant"),
    remarks=("The comment has the same certificate for every number of keys.",),
)

THEOREMS = (DERIVATIVE_PRINTED, DERIVATIVE)
