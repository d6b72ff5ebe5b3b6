"""F. A. Heinsen and L. Kozachkov: symmetric Taylor features, and what an odd degree does.

"Self-Attention at Constant Cost per Token via Symmetry-Aware Taylor Approximation", arXiv
2602.00294 (2026). Every term of the Taylor expansion of exp(q . k) is a sum over symmetric
monomials. There are C(d + p - 1, p) of them of degree p instead of d^p, so that attention costs a
constant per token. The code's default takes four Taylor terms, that is degree 3, and divides by the
sum of the weights.

Here: the count of monomials, and what an odd degree does to that sum.

Read: the abstract, the README and sata_attention.py (n_taylor = 4 by default, terms 0 to n_taylor -
1, the output torch.nan_to_num(S / Z)); no lemma of the paper. The two refuted entries are claims of
nobody: they are controls of the code's default.

    paper                  here
    n_taylor = 4           P_3(s) = 1 + s + s^2/2 + s^3/6, s = q . k / sqrt(d)
    S / Z                  sum_j P_3(s_j) v_j / sum_j P_3(s_j)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.papers.heinsen_kozachkov_2026.source import CITATION
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import Assumption, Falsify, Identity, Instance, Symbolic
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- symmetric monomials --------------------------------------------------------------------------


def _power_of_dot(d: int, p: int, *, unweighted: bool = False) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, *symbols = ring([*(f"q{c}" for c in range(d)), *(f"k{c}" for c in range(d))], QQ)
    q, k = symbols[:d], symbols[d:]
    exponents = [a for a in itertools.product(range(p + 1), repeat=d) if sum(a) == p]
    yield Identity(
        len(exponents), math.comb(d + p - 1, p), f"monomials of degree {p} in {d} variables"
    )
    total = 0 * q[0]
    for alpha in exponents:
        weight = 1 if unweighted else math.factorial(p) // math.prod(map(math.factorial, alpha))
        term = 0 * q[0] + weight
        for x, y, a in zip(q, k, alpha, strict=True):
            term = term * (x * y) ** a
        total += term
    yield Identity(
        sum((x * y for x, y in zip(q, k, strict=True)), 0 * q[0]) ** p, total, f"(q.k)^{p}, d = {d}"
    )


def _powers(unweighted: bool = False) -> Iterator[Identity]:
    for d, p in ((1, 5), (2, 4), (3, 4), (4, 3), (6, 2)):
        yield from _power_of_dot(d, p, unweighted=unweighted)


MONOMIALS = Theorem(
    key="sata.symmetric-monomials",
    title="features of one Taylor term",
    statement="(q·k)^p = Σ_{|α|=p} (p!/α!) q^α k^α, with C(d + p - 1, p) terms.",
    source=Source(
        citation=CITATION,
        place="the features of one Taylor term",
        fidelity="constants made explicit",
    ),
    reading=(
        "equal monomials are formed once; summed over p <= g this gives C(d + g, g), as in "
        "as23.low-rank"
    ),
    experiments=(
        Symbolic(
            identities=_powers,
            covers="statement",
            scope="(d, p) = (1, 5), (2, 4), (3, 4), (4, 3), (6, 2), all q and k",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_powers, unweighted=True),
        covers="statement",
        scope="without the multinomial coefficients",
    ),
)

# --- odd degree -----------------------------------------------------------------------------------


def _scores() -> Any:
    from hypothesis import strategies as st

    pair = st.tuples(st.integers(-8, 8), st.integers(-3, 3))
    return st.lists(pair, min_size=1, max_size=4).map(
        lambda rows: {"halves": [a for a, _ in rows], "values": [b for _, b in rows]}
    )


def _taylor(x: Fraction, degree: int) -> Fraction:
    return sum((x**t / math.factorial(t) for t in range(degree + 1)), Fraction(0))


def _weights(instance: Instance, degree: int) -> list[Fraction]:
    return [_taylor(Fraction(a, 2), degree) for a in instance["halves"]]


def _denominator(
    instance: Instance, least: Fraction = Fraction(0), degree: int = 3
) -> tuple[Fraction, int]:
    """What the sum of one query's weights lacks of `least` a token, against 0."""
    weights = _weights(instance, degree)
    return least * len(weights) - sum(weights, Fraction(0)), 0


_CASE = {"halves": [-6, -6, -6, 1], "values": [1, 2, 3, 10]}
"""Scores -3, -3, -3, 1/2: the sum is -209/48, though every exponential is positive."""
_CASES: tuple[Instance, ...] = (_CASE,)


def _of_sums(confirm: Any) -> Falsify:
    return search_by(
        confirm,
        instances=_scores,
        examples=_CASES,
        tries=150,
        scope="up to four scores in [-4, 4], multiples of 1/2",
    )


DENOMINATOR = Theorem(
    key="sata.odd-degree",
    title="control of the code's default: the sum of the weights at degree 3",
    statement="Z = Σ_j P_3(s_j) >= 0 for all scores, so that S/Z is an average of the values.",
    source=Source(
        citation=CITATION,
        place="sata_attention.py: n_taylor = 4 by default, torch.nan_to_num(S / Z)",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading="one query, scores s_j in multiples of 1/2; Z < 0 is shown, not only Z = 0",
    alternative_readings=(
        "For scores above -1.596 the weights are positive and the statement holds.",
    ),
    experiments=(_of_sums(_denominator),),
    expected=Status.REFUTED,
    mutant=_of_sums(partial(_denominator, least=Fraction(1, 100))),
    kind="implied",
    repaired=_of_sums(partial(_denominator, degree=4)),
    repaired_by="ours.even-taylor",
    by_hand=ByHand(
        instance="Scores -3, -3, -3, 1/2; P_3(x) = 1 + x + x²/2 + x³/6.",
        shows="P_3(-3) = -2 and P_3(1/2) = 1.646, so Z = -4.354.",
    ),
    defence=(
        "Neither the paper nor the README claims this; the number of terms is the user's choice, "
        "and the README's other example takes eight terms. With more terms a score must be more "
        "negative before a weight turns negative. The default is odd all the same, and nothing "
        "warns of it."
    ),
    remarks=(
        "P_g is positive everywhere for even g, so n_taylor = 3 or 5 is safe. Replacing NaN by 0 "
        "in S/Z, as the code does, hides the pole, not the sign.",
    ),
)

# --- the convex hull ------------------------------------------------------------------------------


def _has_denominator(instance: Instance) -> bool:
    return sum(_weights(instance, 3), Fraction(0)) != 0


_NO_POLE = Assumption(text="the sum of the weights is not 0", predicate=_has_denominator)


def _output(instance: Instance, degree: int) -> Fraction:
    weights = _weights(instance, degree)
    total = sum(w * v for w, v in zip(weights, instance["values"], strict=True))
    return Fraction(total) / sum(weights, Fraction(0))


def _beyond_hull(
    instance: Instance, share: Fraction = Fraction(0), degree: int = 3
) -> tuple[Fraction, Fraction]:
    """How far the output lies outside [min v, max v], against a share of that interval."""
    out = _output(instance, degree)
    low, high = min(instance["values"]), max(instance["values"])
    return max(out - high, low - out), share * (high - low)


def _of_outputs(confirm: Any) -> Falsify:
    return search_by(
        confirm,
        instances=_scores,
        assumptions=(_NO_POLE,),
        examples=_CASES,
        tries=150,
        scope="up to four scores in [-4, 4], multiples of 1/2, whole values",
    )


HULL = Theorem(
    key="sata.convex-hull",
    title="control of the code's default: the output lies among the values",
    statement="min_j v_j <= Σ_j P_3(s_j) v_j / Σ_j P_3(s_j) <= max_j v_j.",
    source=Source(
        citation=CITATION,
        place="sata_attention.py: n_taylor = 4 by default",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "one query and column; what holds for softmax attention (lss24.output-range) is asked of "
        "the approximation"
    ),
    assumptions=(_NO_POLE,),
    experiments=(_of_outputs(_beyond_hull),),
    expected=Status.REFUTED,
    mutant=_of_outputs(partial(_beyond_hull, share=Fraction(1, 100))),
    kind="implied",
    repaired=_of_outputs(partial(_beyond_hull, degree=4)),
    repaired_by="ours.even-taylor",
    by_hand=ByHand(
        instance="Scores -3, -3, -3, 1/2 and values 1, 2, 3, 10.",
        shows=(
            "The sum of weights is -4.354, that of weights times values 4.458: the output is "
            "-1.02, below every value."
        ),
    ),
    defence=(
        "The paper speaks of an approximation of softmax attention and gives measured errors; that "
        "the output is an average of the values is nowhere claimed. It is what a user of attention "
        "expects, and at an even degree it holds."
    ),
    remarks=(
        "Scores -3, -3, -3, 1/2 and values 1, 2, 3, 10: softmax gives 9.3, degree 3 gives -1.02, "
        "degree 4 gives 4.28.",
    ),
)

THEOREMS = (MONOMIALS, DENOMINATOR, HULL)
