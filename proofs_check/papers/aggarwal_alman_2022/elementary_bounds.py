"""The least error next to exp by powers and factorials.

Citation and letters: `minimal_degree`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial

from proofs_check.arithmetic import supnorm
from proofs_check.arithmetic.balls import ball
from proofs_check.papers.aggarwal_alman_2022.source import CITATION
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

# --- powers and factorials ------------------------------------------------------------------------
# 1. I_k(B) = ((B/2)^k/k!) sum_m (B^2/4)^m k!/(m! (k + m)!), the series of a modified Bessel
#    function.
# 2. k!/(k + m)! <= (k + 1)^-m: a product of m factors, each at least k + 1.
# 3. Every term of 1 is positive, so the first one is a lower bound: (B/2)^k/k! <= I_k(B).
# 4. By 2 the series is at most that of an exponential:
#        I_k(B) <= ((B/2)^k/k!) e^{B^2/(4 (k + 1))}.
# 5. From k = n + 1 on the bounds of 4 fall by a factor of at most B/(2 (n + 2)) a step.
# 6. 2 I_{n+1} <= E_n <= 2 sum_{k > n} I_k (aa22.minimax-bounds).
# 7. By 3 and 6, 2 (B/2)^{n+1}/(n + 1)! <= E_n.
# 8. By 4, 5 and 6, for B < 2 (n + 2),
#        E_n <= 2 ((B/2)^{n+1}/(n + 1)!) e^{B^2/(4 (n + 2))}/(1 - B/(2 (n + 2))).

_CELLS = tuple(
    (Fraction(b), n)
    for b in (Fraction(1, 2), 1, 2, 4, 8, 16)
    for n in (1, 4, 8, 16, 32)
    if b < 2 * (n + 2)
)


def _shifted() -> Iterator[Identity]:
    """k!/(k + m)! <= (k + 1)^-m term by term: (k + 1)...(k + m) - (k + 1)^m has coefficients >= 0
    in k.
    """
    from sympy import QQ, ring

    _, k = ring("k", QQ)
    for m in range(1, 9):
        product = 1 + 0 * k
        for i in range(1, m + 1):
            product *= k + i
        gap = product - (k + 1) ** m
        yield Identity(int(all(c >= 0 for c in gap.coeffs())), 1, f"m = {m}")


def _between(_bits: int) -> list[Comparison]:
    comparisons = []
    for b, n in _CELLS:
        first = ball(b / 2) ** (n + 1) / math.factorial(n + 1)
        above = first * ball(b * b / (4 * (n + 2))).exp() / (1 - ball(b / (2 * (n + 2))))
        tail = sum((ball(b).bessel_i(ball(k)) for k in range(n + 1, n + 80)), ball(0))
        comparisons.append(
            Comparison(first, ball(b).bessel_i(ball(n + 1)), f"below, B = {b}, n = {n}")
        )
        comparisons.append(Comparison(tail, above, f"above, B = {b}, n = {n}"))
    return comparisons


_BEST = tuple((Fraction(b), n) for b in (Fraction(1, 2), 2, 8) for n in (4, 8, 16))


def _least_errors(bits: int, percent: int = 100) -> list[Comparison]:
    """The bounds against E_n itself, enclosed by a polynomial and by its reference points."""
    comparisons = []
    for b, n in _BEST:
        coefficients, reference = supnorm.minimax(n, (-b, b), "additive", bits=max(bits, 192))
        least = supnorm.levelled_error(reference, "additive", bits=max(bits, 192))
        most = supnorm.sup_error(coefficients, (-b, b), "additive", bits=max(bits, 192))
        first = 2 * ball(b / 2) ** (n + 1) / math.factorial(n + 1)
        above = first * ball(b * b / (4 * (n + 2))).exp() / (1 - ball(b / (2 * (n + 2))))
        below = first * percent / 100
        cell = f"B = {b}, n = {n}"
        comparisons.append(Comparison(below, least if percent == 100 else most, f"below, {cell}"))
        comparisons.append(Comparison(most, above, f"above, {cell}"))
    return comparisons


ELEMENTARY = Theorem(
    key="aa22.elementary-bounds",
    title="least error by powers and factorials",
    statement=(
        "2 (B/2)^{n+1}/(n+1)! <= E_n(B) <= 2 ((B/2)^{n+1}/(n+1)!) e^{B²/(4(n+2))} / (1 - "
        "B/(2(n+2))) for B < 2(n + 2)."
    ),
    source=Source(
        citation=CITATION,
        place="not a quotation: Bernstein's estimate of E_n with better constants",
        fidelity="ours",
    ),
    reading="E_n the least max of |P - e^x| on [-B, B], P of degree n",
    experiments=(
        Enclose(
            certify=_least_errors,
            covers="statement",
            bits=192,
            scope="B = 1/2, 2, 8 and n = 4, 8, 16: E_n itself enclosed from both sides",
        ),
        Symbolic(
            identities=_shifted,
            covers="step",
            scope="(k + 1)...(k + m) >= (k + 1)^m coefficient by coefficient, m <= 8, all k",
        ),
        Enclose(
            certify=_between,
            covers="step",
            scope="B from 1/2 to 16, n from 1 to 32: the first 79 terms of the tail",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_least_errors, percent=105),
        covers="statement",
        bits=192,
        scope="1.05 times the lower bound",
    ),
    uses=("aa22.minimax-bounds",),
    remarks=(
        "For every m: (k + 1)...(k + m) is a product of m factors of at least k + 1.",
        "Bernstein has E_n = B^{n+1} e^ξ/(2ⁿ (n+1)!), |ξ| <= B.",
    ),
)

THEOREMS = (ELEMENTARY,)
