"""The least error next to exp by powers and factorials, and the degree on a long interval.

Citation and letters: `minimal_degree`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

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


def _shifted(power: int = 0) -> Iterator[Identity]:
    """k!/(k + m)! <= (k + 1)^-m term by term: (k + 1)...(k + m) - (k + 1)^m has coefficients >= 0
    in k.
    """
    from sympy import QQ, ring

    _, k = ring("k", QQ)
    for m in range(1, 9):
        product = 1 + 0 * k
        for i in range(1, m + 1):
            product *= k + i
        gap = product - (k + 1 + power) ** m
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
        Symbolic(
            identities=_shifted,
            scope="(k + 1)...(k + m) >= (k + 1)^m coefficient by coefficient, m <= 8, all k",
        ),
        Enclose(
            certify=_between,
            scope="B from 1/2 to 16, n from 1 to 32: the first 79 terms of the tail",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(identities=partial(_shifted, power=10), scope="(k + 11)^m"),
    uses=("aa22.minimax-bounds",),
    remarks=(
        "For every m: (k + 1)...(k + m) is a product of m factors of at least k + 1.",
        "Bernstein has E_n = B^{n+1} e^ξ/(2ⁿ (n+1)!), |ξ| <= B.",
    ),
)

# --- the leading coefficient ----------------------------------------------------------------------
# 1. With b = B/2 and t = x - b in [-b, b], e^x = e^b e^t: the least error on [0, B] is e^b E_n(b).
# 2. 2 I_{n+1}(b) <= E_n(b) (aa22.minimax-bounds).
# 3. E_n(b) <= 2 sum_{k > n} I_k(b) <= 4 I_{n+1}(b) once n >= 2 b, where the terms fall by half.
# 4. ln I_n(b) ~ b (sqrt(1 + mu^2) - mu asinh mu) at n = mu b, as b grows.
# 5. For B >> L the two bounds decide the same mu: sqrt(1 + mu^2) + 1 = mu asinh mu.
# 6. Its root is mu = 2.2334..., so the degree is mu B/2 ~ 1.1167 B.


def _root(_bits: int, shift: Fraction = Fraction(0)) -> list[Comparison]:
    def equation(mu: Fraction) -> Any:
        x = ball(mu)
        return (1 + x * x).sqrt() + 1 - x * x.asinh()

    low, high = Fraction(2233423063, 10**9) + shift, Fraction(2233423064, 10**9) + shift
    return [
        Comparison(0, equation(low), "above 0 before the root"),
        Comparison(equation(high), 0, "below 0 behind it"),
    ]


def _degrees(_bits: int) -> list[Comparison]:
    """At B = 1000, 4000 and delta = 1/2 the least degree lies between 1.1 B and 1.13 B."""
    comparisons = []
    for big in (1000, 4000):
        b = Fraction(big, 2)
        for n, above in ((math.floor(1.1 * big), True), (math.ceil(1.13 * big), False)):
            size = ball(b).exp() * 2 * ball(b).bessel_i(ball(n + 1))
            comparisons.append(
                Comparison(ball(Fraction(1, 2)), size, f"B = {big}: degree {n} is too small")
                if above
                else Comparison(2 * size, ball(Fraction(1, 2)), f"B = {big}: degree {n} is enough")
            )
    return comparisons


def _certify(bits: int) -> list[Comparison]:
    return [*_root(bits), *_degrees(bits)]


LEADING = Theorem(
    key="aa22.leading-coefficient",
    title="the degree for e^x on a long interval",
    statement=(
        "d(e^x; [0, B]) ~ (μ/2) B as B/L -> ∞, μ = 2.233423063... the root of sqrt(1 + μ²) + 1 = μ "
        "asinh μ; at δ = 1/2 it lies between 1.1 B and 1.13 B for B = 1000, 4000."
    ),
    source=Source(
        citation=CITATION,
        place=(
            "leading coefficients, which the abstract announces; worked out from the asymptotics "
            "of I_n"
        ),
        fidelity="ours",
    ),
    reading="the asymptotic statement by the equation for μ, the finite one by two-sided bounds",
    experiments=(
        Enclose(certify=_certify, scope="ten digits of μ; B = 1000 and 4000, δ = 1/2", bits=192),
    ),
    expected=Status.PROVED,
    mutant=Enclose(certify=partial(_root, shift=Fraction(1, 10)), scope="μ = 2.3334", bits=192),
    uses=("aa22.minimax-bounds",),
    remarks=(
        "The left-hand side of the equation falls: its derivative is -asinh μ. The tail beyond n "
        ">= 2b is at most twice its first term, since I_{k+1}/I_k <= b/(2(k+1)) <= 1/4.",
    ),
)

THEOREMS: tuple[Any, ...] = (ELEMENTARY, LEADING)
