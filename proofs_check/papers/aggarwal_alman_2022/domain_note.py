"""Where the degree formula of Aggarwal & Alman has no meaning: next to L = B.

Citation and letters: `minimal_degree`.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.aggarwal_alman_2022.source import CITATION
from proofs_check.papers.shared.searches import search_by
from proofs_check.statements.experiment import Assumption, Falsify, Instance
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- the formula ----------------------------------------------------------------------------------
# 1. The Taylor polynomial of e^{-x} of degree g errs by at most B^{g+1}/(g+1)! on [0, B]:
#    Lagrange's remainder, since all derivatives are at most 1 there.
# 2. So d <= g as soon as B^{g+1}/(g+1)! <= e^{-L}.
# 3. At B = 1 and 1 < L <= ln 6 that is g = 2, since 1/3! <= e^{-L}.
# 4. But L / log(L/B) is about 2^k at L = 1 + 2^-k.


def _cases() -> Any:
    from hypothesis import strategies as st

    return st.fixed_dictionaries({"B": st.integers(1, 4), "bits": st.integers(0, 60)})


def _above(instance: Instance) -> bool:
    return bool(instance["B"] >= 1 and instance["bits"] >= 0)


_REGIME = Assumption(
    text="B >= 1 and L = B (1 + 2^-bits) > B, so that the logarithm is positive",
    predicate=_above,
    generator=_cases,
)


def _taylor_degree(instance: Instance) -> int:
    """Certified degree that suffices for e^{-x} on [0, B] within e^{-L}."""
    b = instance["B"]
    permitted = (-ball(b * (1 + Fraction(1, 2 ** instance["bits"])))).exp()
    return next(
        g
        for g in range(1, 1000)
        if ball(Fraction(b ** (g + 1), math.factorial(g + 1))) <= permitted
    )


def _formula(instance: Instance, constant: Fraction) -> tuple[Any, int]:
    """The second term of the maximum, and a degree that suffices."""
    growth = 1 + Fraction(1, 2 ** instance["bits"])
    second_term = ball(constant * instance["B"] * growth) / ball(growth).log()
    return second_term, _taylor_degree(instance)


def _needed(instance: Instance, less: int = 0) -> tuple[int, int]:
    """The degree that aa22.minimax-bounds asks for, against one that suffices (minus `less`)."""
    b = instance["B"]
    permitted = (-ball(b * (1 + Fraction(1, 2 ** instance["bits"])))).exp()
    half = ball(Fraction(b, 2))
    needed = next(
        n for n in range(1000) if not 2 * (-half).exp() * half.bessel_i(ball(n + 1)) > permitted
    )
    return needed, _taylor_degree(instance) - less


_NEXT: tuple[Instance, ...] = ({"B": 1, "bits": 24},)


def _formula_search(confirm: Any, scope: str) -> Falsify:
    return search_by(confirm, instances=_cases, assumptions=(_REGIME,), examples=_NEXT, scope=scope)


DEGREE_FORMULA = Theorem(
    key="aa22.degree-formula",
    title="domain note: the degree formula next to L = B",
    statement=(
        "d_{B;δ}(e^{-x}) >= c max{sqrt(B L), L / log(L/B)} for all B >= 1 and L = log(1/δ) > B, c "
        "= 2⁻²⁰."
    ),
    source=Source(
        citation=CITATION,
        place="abstract: d = Θ(max{sqrt(B L), L / log(L/B)})",
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "the maximum taken literally wherever its second term is positive; the constant is "
        "chosen, and no other one helps: L / log(L/B) grows without bound as L falls to B = 1, "
        "while degree 2 suffices there"
    ),
    alternative_readings=(
        "For L <= B the second term is negative or undefined.",
        (
            "With the second term only for L >= 2 B, say, this objection disappears; the Θ itself "
            "was not examined."
        ),
    ),
    assumptions=(_REGIME,),
    experiments=(
        _formula_search(
            partial(_formula, constant=Fraction(1, 2**20)),
            "B <= 4, L = B (1 + 2^-bits), against a degree that suffices",
        ),
    ),
    expected=Status.REFUTED,
    mutant=_formula_search(partial(_needed, less=2), "two degrees less than suffice"),
    repaired_by="aa22.minimax-bounds",
    repaired=_formula_search(_needed, "the lower bound by I_{n+1}, against a degree that suffices"),
    kind="implied",
    defence=(
        "A Θ over regimes is meant for L well above B where its second term dominates, and for L "
        "well below B where the first does; near L = B the second is a convention. Read so, "
        "nothing here is wrong with it. It is listed since a program that takes the maximum "
        "literally asks for millions of degrees."
    ),
    by_hand=ByHand(
        instance="B = 1 and L = 1 + 2⁻²⁴, so δ = e^(-L) = 0.3679 is allowed on [0, 1].",
        shows=(
            "The constant (1 + 1/e)/2 = 0.684 is within 0.316 of e^(-x): degree 0. But L / "
            "log(L/B) = 2²⁴ nearly, and c times that is 16."
        ),
        instead=(
            "The least error E_n(B) of degree n for e^x on [-B, B] lies between two sums of "
            "modified Bessel functions I_k, and this bounds the degree on both sides."
        ),
    ),
)

THEOREMS = (DEGREE_FORMULA,)
