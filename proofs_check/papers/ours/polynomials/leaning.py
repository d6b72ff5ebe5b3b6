"""Our own statement about majorants with odd parts: how they serve shorter intervals.

    P_g       the Taylor polynomial of even degree g
    R(s)      e^s - P_g(s) = sum_{t > g} s^t / t!; it has the sign of s
    N_r(x)    |R(-r x)| / r^(g+1) for x >= 0, and its limit x^(g+1) / (g+1)! for r = 0

Even majorants are at least F(s) = sum_{t > g} |s|^t / t!, which |R| is on one side only, and F
falls faster than lambda^(g+1) on both (`majorants`). A majorant that is closer to |R| for s < 0
needs a reserve there.

1. R(lambda s) <= lambda^(g+1) R(s) for s > 0 and 0 <= lambda <= 1, power by power.
2. N_r(x) = x^(g+1) phi(r x) with phi(y) = int_0^1 (1 - u)^g e^(-u y) du / g!. So N_r falls with r:
   -e^y phi'(y) = int_0^1 v^g (1 - v) e^(v y) dv / g! = sum_m y^m / (g! m! (g+1+m) (g+2+m)).
3. So Q >= |R| and Q(s) >= |R(r s)| / r^(g+1) on [-B, B] give Q(s) >= |R(lambda s)| / lambda^(g+1)
   there for r <= lambda <= 1.

Symbols for the balls: Q is the polynomial of degree 4 that meets R at B, R with its slope at y > 0
and N_r with its slope at -z < 0, 1/128 more of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.ours.polynomials.majorants import judged, needed
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__, "approxattn.exponential.taylor_majorants")

_DEGREE, _LEAST = 4, Fraction(27, 32)
_NODES = (
    (Fraction(1, 8), Fraction(11, 64)),
    (Fraction(11, 64), Fraction(5, 16)),
    (Fraction(5, 32), Fraction(15, 64)),
)


def _falls(more: int = 0) -> Iterator[Identity]:
    """The coefficients of -e^y phi'(y), from phi(y) = sum_k (-y)^k / (g+1+k)!."""
    from sympy import Integer, factorial

    for g in (0, 2, 4, 8, 24):
        for m in range(12):
            left = sum(
                (
                    -k * Integer(-1) ** k / factorial(g + 1 + k) / factorial(m + 1 - k)
                    for k in range(1, m + 2)
                ),
                Integer(0),
            )
            right = 1 / (factorial(g) * factorial(m) * (g + 1 + m) * (g + 2 + more + m))
            yield Identity(left, right, f"degree {g}, power {m}")


def _rest(s: Any, order: int = 0) -> Any:
    """R or R'."""
    return s.exp() - sum((s**t / math.factorial(t) for t in range(_DEGREE + 1 - order)), 0 * s)


def _meeting(b: Fraction, nodes: tuple[Fraction, Fraction], r: Fraction) -> list[Fraction]:
    """The coefficients of Q, rounded, and 1/128 more."""
    from flint import arb_mat

    used, end, y, z = range(_DEGREE + 1), ball(b), ball(nodes[0] * b), ball(-nodes[1] * b)
    rows = [[s**t for t in used] for s in (end, y, z)]
    rows += [[t * s ** max(t - 1, 0) for t in used] for s in (y, z)]
    shrunk = ball(r)
    sides = [_rest(end), _rest(y), -_rest(shrunk * z) / shrunk**5]
    sides += [_rest(y, 1), -_rest(shrunk * z, 1) / shrunk**4]
    solved = arb_mat(rows).solve(arb_mat([[x] for x in sides]))
    return [Fraction(float(solved[t, 0].mid())) * Fraction(129, 128) for t in used]


def _serves(_bits: int, r: Fraction = _LEAST) -> Iterator[Comparison]:
    taylor = [Fraction(1, math.factorial(t)) for t in range(_DEGREE + 1)]
    for b in (Fraction(2), Fraction(4)):
        for nodes in _NODES:
            q = _meeting(b, nodes, r)
            for ratio in (Fraction(1), Fraction(29, 32), _LEAST):
                scaled = [c * ratio ** (_DEGREE + 1 - t) for t, c in enumerate(q)]
                label = f"B = {b}, y / B = {nodes[0]}, z / B = {nodes[1]}, λ = {ratio}"
                z = ball(-ratio * nodes[1] * b)
                at = sum((ball(c) * z**t for t, c in enumerate(scaled)), 0 * z)
                yield Comparison(-_rest(z), at, f"at -λz, {label}")
                yield judged(scaled, taylor, b * ratio, needed(_DEGREE, float(b)), label)


LEANING = Theorem(
    key="ours.majorant-leaning",
    title="majorants of the Taylor error with odd parts, on shorter intervals",
    statement=(
        "Let g be even, R = exp - P_g and 0 <= r <= λ <= 1. If Q = Σ_t q_t s^t has Q(s) >= |R(s)| "
        "and Q(s) >= |R(rs)| / r^(g+1) on [-B, B], then Σ_t q_t λ^(g+1-t) s^t >= |R| on [-λB, λB]."
    ),
    source=_HERE,
    reading=(
        "|R(-λx)| / λ^(g+1) falls with λ, by a series of positive terms; R(λx) / λ^(g+1) grows "
        "with it"
    ),
    experiments=(
        Symbolic(
            identities=_falls,
            covers="statement",
            scope="degrees 0, 2, 4, 8, 24, the first twelve powers of the series",
        ),
        Enclose(
            certify=_serves,
            covers="statement",
            scope="Q of degree 4 that meets both, B = 2, 4, three pairs of nodes, r = 27/32",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_serves, r=Fraction(1)),
        covers="statement",
        scope="Q >= |R| alone, without its reserve for s < 0",
    ),
)

THEOREMS = (LEANING,)
