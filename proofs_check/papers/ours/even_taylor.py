"""Our own statement about attention with the even Taylor polynomial of exp in place of exp.

The certificate of the Taylor basis cites it.

    P_g(x) = sum_{t <= g} x^t / t!
    r(x)     ln P_g(x) - x = ln of the ratio of approximate to exact weight
    lo, hi   least and largest score of one row;   ln rho = r(lo) - r(hi) (see `weights`)

1. P_g' = P_g - x^g / g!, so r' = -x^g / (g! P_g).
2. At a minimum x of P_g, which exists for even g, P_g' = 0 and P_g(x) = x^g / g!.
3. That is positive unless x = 0, where P_g = 1. So P_g > 0 on the line.
4. By 1 and 3 r decreases strictly: over the scores of a row it ranges in [r(hi), r(lo)].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import (
    Assumption,
    Comparison,
    Enclose,
    Falsify,
    Identity,
    Instance,
    Symbolic,
)
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_EVEN = tuple(range(0, 41, 2))


def _taylor(g: int, x: Any) -> Any:
    """P_g(x) by Horner's rule, exact on exact numbers."""
    value = 0 * x + 1
    for t in range(g, 0, -1):
        value = 1 + value * x / t
    return value


def _coefficients(g: int) -> list[Fraction]:
    return [Fraction(1, math.factorial(t)) for t in range(g + 1)]


def _derivatives() -> Iterator[Identity]:
    from sympy import QQ, ring

    _, x = ring("x", QQ)
    for g in _EVEN:
        p = _taylor(g, x)
        yield Identity(p.diff(x) - p, -(x**g) / math.factorial(g), f"P' - P, degree {g}")


def _real_roots(degrees: tuple[int, ...] = _EVEN) -> Iterator[Identity]:
    from sympy import Poly, Rational, symbols

    x = symbols("x")
    for g in degrees:
        p = Poly([Rational(c.numerator, c.denominator) for c in reversed(_coefficients(g))], x)
        yield Identity(int(p.count_roots()), 0, f"number of real roots, degree {g}")


# 5. The two ends of the scores in [-B, B] are r(-B) = ln(1 + eps) and r(B) = ln(1 - Q), by Taylor's
#    theorem with integral remainder:
#        eps = (B^{g+1} / g!) int_0^1 u^g e^{uB} du,
#        Q = Pr[Poisson(B) > g] = (1/g!) int_0^B u^g e^{-u} du.

_BOUNDS = (Fraction(1, 2), Fraction(1), Fraction(2), Fraction(4), Fraction(8), Fraction(16))


def _integrand(g: int, sign: int, x: Any, _analytic: bool) -> Any:
    return x**g * (sign * x).exp()


def _ends(_bits: int) -> list[Comparison]:
    from flint import acb

    comparisons = []
    for g in (2, 4, 8, 16):
        for b in _BOUNDS:
            eps, q = (
                acb.integral(partial(_integrand, g, sign), 0, acb(ball(b))).real / math.factorial(g)
                for sign in (1, -1)
            )
            at = f"degree {g}, B = {b}"
            comparisons.append(
                Comparison(_taylor(g, ball(-b)) * ball(b).exp(), 1 + eps, f"e^r(-B), {at}")
            )
            comparisons.append(
                Comparison(_taylor(g, ball(b)) * ball(-b).exp(), 1 - q, f"e^r(B), {at}")
            )
    return comparisons


def _rows() -> Any:
    from hypothesis import strategies as st

    def scores(n: int) -> Any:
        entries = st.lists(st.integers(-64, 64).map(lambda i: i / 8), min_size=n, max_size=n)
        return st.fixed_dictionaries({"degree": st.sampled_from((2, 4, 6, 8)), "scores": entries})

    return st.integers(2, 5).flatmap(scores)


def _is_even(instance: Instance) -> bool:
    return (
        isinstance(instance["degree"], int)
        and instance["degree"] >= 0
        and instance["degree"] % 2 == 0
    )


_DEGREE = Assumption(text="the degree g is even", predicate=_is_even, generator=_rows)


def _tv(instance: Instance) -> float:
    s = np.array(instance["scores"], dtype=float)
    approximate = np.polynomial.polynomial.polyval(
        s, [float(c) for c in _coefficients(instance["degree"])]
    )
    f, g = np.exp(s) / np.sum(np.exp(s)), approximate / np.sum(approximate)
    return max(float(np.sum(np.abs(g - f)) / 2) - 1e-14, 0.0)


def _log_ratio(instance: Instance) -> float:
    p = [
        float(_taylor(instance["degree"], Fraction(s)))
        for s in (min(instance["scores"]), max(instance["scores"]))
    ]
    return (
        math.log(p[0]) - math.log(p[1]) + float(max(instance["scores"]) - min(instance["scores"]))
    )


def _bound(instance: Instance, part: Fraction = Fraction(1)) -> float:
    return max(math.tanh(_log_ratio(instance) / 4) / float(part), 1e-300)


def _confirm(instance: Instance, part: Fraction = Fraction(1)) -> tuple[Any, Any]:
    g, scores = instance["degree"], [Fraction(s) for s in instance["scores"]]
    approximate, exact = [_taylor(g, s) for s in scores], [ball(s).exp() for s in scores]
    total, other = sum(exact), sum(approximate)
    tv = sum(abs(ball(y / other) - x / total) for x, y in zip(exact, approximate, strict=True)) / 2
    low, high = min(scores), max(scores)
    log_ratio = (ball(_taylor(g, low)) * ball(-low).exp()).log() - (
        ball(_taylor(g, high)) * ball(-high).exp()
    ).log()
    return tv, (log_ratio / 4).tanh() / ball(part)


_NEARLY_SHARP: Instance = {"degree": 2, "scores": [-0.5, 0.5]}


def _search(part: Fraction = Fraction(1)) -> Falsify:
    return Falsify(
        instances=_rows,
        measured=_tv,
        bound=partial(_bound, part=part),
        confirm=partial(_confirm, part=part),
        assumptions=(_DEGREE,),
        examples=(_NEARLY_SHARP,),
        tries=150,
        covers="statement",
        scope="2 to 5 keys, g = 2, 4, 6, 8, scores in [-8, 8]",
    )


def _zero(x: Any) -> Any:
    return x * 0


_ON_THE_BOX: dict[str, Any] = {"lhs": _zero, "box": ((-8, 8),)}

EVEN_TAYLOR = Theorem(
    key="ours.even-taylor",
    title="attention with an even Taylor polynomial",
    statement=(
        "For even g, P_g > 0 on R and r = ln P_g - x decreases, so weights P_g(s_j) in place of "
        "e^{s_j} give ln ρ = r(lo) - r(hi) for scores in [lo, hi] and TV(f̃, f) <= tanh((r(lo) - "
        "r(hi)) / 4). On [-B, B]: r(-B) = ln(1 + ε), r(B) = ln(1 - Q), ε = (B^{g+1}/g!) ∫_0^1 u^g "
        "e^{uB} du, Q = Pr[Poisson(B) > g]."
    ),
    source=here(__name__),
    reading=(
        "one row, any number of keys, no bound on the scores; lo and hi may be any lower and upper "
        "bound of them"
    ),
    assumptions=(_DEGREE,),
    experiments=(
        Symbolic(
            identities=_derivatives, covers="statement", scope="P_g' - P_g = -x^g/g!, even g <= 40"
        ),
        Symbolic(
            identities=_real_roots,
            grade="exact-rational",
            covers="statement",
            scope="P_g has no real root, even g <= 40 (Sturm)",
        ),
        Enclose(
            rhs=partial(_taylor, 2),
            covers="statement",
            scope="0 <= P_2(x) for all x in [-8, 8]",
            **_ON_THE_BOX,
        ),
        Enclose(
            rhs=partial(_taylor, 4),
            covers="statement",
            scope="0 <= P_4(x) for all x in [-8, 8]",
            **_ON_THE_BOX,
        ),
        Enclose(
            rhs=partial(_taylor, 8),
            covers="statement",
            scope="0 <= P_8(x) for all x in [-8, 8]",
            **_ON_THE_BOX,
        ),
        Enclose(
            certify=_ends,
            relation="=",
            radius=Fraction(1, 2**48),
            covers="statement",
            scope="ε and Q by rigorous quadrature, g = 2, 4, 8, 16, B = 1/2, 1, 2, 4, 8, 16",
        ),
        _search(),
    ),
    expected=Status.PROVED,
    mutant=_search(Fraction(41, 40)),
    uses=("ours.hilbert",),
    remarks=("Odd degrees have no such bound: P_3 is negative below -1.5961.",),
)

THEOREMS = (EVEN_TAYLOR,)
