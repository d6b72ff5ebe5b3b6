"""Our own statements about majorants of the error of the even Taylor polynomial.

The bounds from moments (`moments`) rest on them; `approxattn.exponential` makes such majorants.

    P_g       the Taylor polynomial of even degree g
    F(s)      sum_{t > g} |s|^t / t! >= |P_g(s) - e^s|
    Q_x       q_a s^a + q_b s^b + q_g s^g, a < b < g even, with Q_x(B) = F(B), Q_x(x) = F(x),
              Q_x'(x) = F'(x), 0 < x < B

Descartes: q_a > 0 > q_b and q_g > 0, and Q_x >= F on [-B, B].

1. The coefficients of Q_x - F in s > 0 are q_a, q_b, q_g and then negative ones: at most three
   changes of sign, so at most three positive zeros (Descartes' rule, also for power series).
2. x counts twice, B once. So there are three changes of sign, and no other zero.
3. The last coefficients are negative, so Q_x - F is negative beyond B, and not negative before.

What balls decide: D = Q_x - F is positive away from 0, x and B; D'' > 0 around x, where D and D'
vanish; D' < 0 next to B, where D vanishes; |q_b| s^(b-a) + F / s^a, which grows with s, is below
q_a at x / 4.

Scaling: F(lambda s) <= lambda^(g+1) F(s) for 0 <= lambda <= 1.

4. Power by power: lambda^(g+1) - lambda^t = lambda^(g+1) (1 - lambda) sum_{k < t-g-1} lambda^k.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball, hull
from proofs_check.papers.ours.polynomials.covered import margin
from proofs_check.papers.shared.source import here, our_code
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__, "approxattn.exponential.taylor_candidates")
_SCALED = here(__name__, "approxattn.exponential.taylor_majorants")


def _taylor(g: int) -> list[Fraction]:
    return [Fraction(1, math.factorial(t)) for t in range(g + 1)]


# --- Descartes ------------------------------------------------------------------------------------

_CELLS = tuple(
    (g, pair, Fraction(b), Fraction(share))
    for g in (4, 6, 8, 12)
    for pair in ((0, 2), (2, g - 2))[: 1 + (g > 4)]
    for b in (Fraction(1, 2), 2, 8)
    for share in (Fraction(2, 25), Fraction(9, 25), Fraction(16, 25))
)


def _lacking(g: int, s: Any, order: int = 0) -> Any:
    """F, F' or F'' at s > 0: the first terms of the series, and what all others can add."""
    first, last = g + 1 - order, g + 80
    head = sum((s**t / math.factorial(t) for t in range(first, last)), 0 * s)
    rest = s**last / math.factorial(last) * s.exp()
    return head + hull(0 * rest, rest)


def _touching(
    g: int, pair: tuple[int, int], b: Fraction, x: Fraction, part: Fraction = Fraction(1)
) -> list[Any]:
    """q_a, q_b and q_g; F(x) may be taken in part, for the mutant."""
    from flint import arb_mat

    end, at, used = ball(b), ball(x), (*pair, g)
    rows = [[y**t for t in used] for y in (end, at)]
    rows.append([t * at ** max(t - 1, 0) for t in used])
    sides = [_lacking(g, end), ball(part) * _lacking(g, at), ball(part) * _lacking(g, at, 1)]
    solved = arb_mat(rows).solve(arb_mat([[y] for y in sides]))
    return [solved[i, 0] for i in range(3)]


def _said(g: int, pair: tuple[int, int], b: Fraction, share: Fraction) -> str:
    return f"degrees {pair[0]}, {pair[1]}, {g}, B = {b}, x / B = {share}"


def _signs(_bits: int) -> Iterator[Comparison]:
    for g, pair, b, share in _CELLS:
        q = _touching(g, pair, b, share * b)
        for size, name in ((q[0], "q_a"), (-q[1], "-q_b"), (q[2], "q_g")):
            yield Comparison(0, size, f"{name}, {_said(g, pair, b, share)}")


def _majorises(_bits: int, part: Fraction = Fraction(1)) -> Iterator[Comparison]:
    for g, pair, b, share in _CELLS:
        label, x = _said(g, pair, b, share), share * b
        q = dict(zip((*pair, g), _touching(g, pair, b, x, part), strict=True))
        if part != 1:
            yield Comparison(_lacking(g, ball(x)), _derivative(q, ball(x), 0), f"D(x), {label}")
        polynomial = [q.get(t, 0) for t in range(g + 1)]
        near, last, low = x / 128, b / 32, x / 4
        for ends in ((low, x - near), (x + near, b - last)):
            yield Comparison(0, margin(polynomial, _taylor(g), ends), f"D, {label}")
        first, second = pair
        small = ball(low)
        grows = -q[second] * small ** (second - first) + _lacking(g, small) / small**first
        yield Comparison(grows, q[first], f"D next to 0, {label}")
        for i in range(-8, 8):
            s = hull(ball(x + near * i / 8), ball(x + near * (i + 1) / 8))
            bend = _derivative(q, s, 2) - _lacking(g, s, 2)
            yield Comparison(0, bend, f"D'' around x, {label}")
        for i in range(64):
            s = hull(ball(b - last * (i + 1) / 64), ball(b - last * i / 64))
            slope = _derivative(q, s, 1) - _lacking(g, s, 1)
            yield Comparison(slope, 0, f"D' next to B, {label}")


def _derivative(q: dict[int, Any], s: Any, order: int) -> Any:
    """Q, Q' or Q''."""
    return sum((math.perm(t, order) * c * s ** max(t - order, 0) for t, c in q.items()), 0 * s)


_CELLS_SAID = "g = 4, 6, 8, 12, a, b = 0, 2 and 2, g - 2, B = 1/2, 2, 8, x / B = 0.08, 0.36, 0.64"

DESCARTES = Theorem(
    key="ours.majorant-descartes",
    title="majorants of the Taylor error from three even moments",
    statement=(
        "For even a < b < g and 0 < x < B the Q_x(s) = q_a s^a + q_b s^b + q_g s^g that meets "
        "F(s) = Σ_{t>g} |s|^t/t! at B, and at x with its slope, is >= F >= |P_g - exp| on [-B, B]."
    ),
    source=_HERE,
    reading="Descartes' rule of signs for all degrees, x and B; balls decide the cells on [0, B]",
    experiments=(
        Enclose(certify=_majorises, bits=256, covers="statement", scope=_CELLS_SAID),
        Enclose(
            certify=_signs,
            bits=256,
            covers="step",
            scope=f"the signs of q_a, q_b and q_g: {_CELLS_SAID}",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_majorises, part=Fraction(99, 100)),
        bits=256,
        covers="statement",
        scope="met at x in 0.99 of F",
    ),
)

# --- scaling --------------------------------------------------------------------------------------


def _powers(more: int = 0) -> Iterator[Identity]:
    from sympy import QQ, ring

    _, x = ring("lambda", QQ)
    for g in (0, 2, 4, 8, 24):
        for t in range(g + 1, g + 9):
            left = x ** (g + 1) * (1 - x) * sum((x**k for k in range(t - g - 1)), 0 * x)
            yield Identity(x ** (g + 1 + more) - x**t, left, f"degree {g}, power {t}")


SCALING = Theorem(
    key="ours.majorant-scaling",
    title="majorants of the Taylor error on shorter intervals",
    statement=(
        "F(λs) <= λ^(g+1) F(s) for 0 <= λ <= 1: if Σ_t q_t s^t >= F on [-B, B], then Σ_t q_t "
        "λ^(g+1-t) s^t >= F on [-λB, λB]."
    ),
    source=_SCALED,
    reading="power by power of the series of F; the other powers are alike",
    experiments=(
        Symbolic(
            identities=_powers,
            covers="statement",
            scope="degrees 0, 2, 4, 8, 24, the first eight powers of F, all λ",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_powers, 1), covers="statement", scope="λ^(g+2) in the place of λ^(g+1)"
    ),
)

# --- the majorants of the library -----------------------------------------------------------------

_TAYLOR_SAMPLE = (
    *((g, 2.0**e) for g in (2, 4, 8, 12) for e in (-20, -6, -1, 0.25, 1.5, 3, 4)),
    *((g, b) for g in (6, 10, 16, 24) for b in (2.0**-30, 0.7, 3.3, 11.0, 32.0)),
    (0, 1.0),
    (4, 0.25),
    (4, 9.6),
    (4, 32.0),
    (50, 5.0),
    (50, 32.0),
    (150, 32.0),
)
_ONE_SIDED_SAMPLE = tuple(
    (g, b, b * share)
    for g in (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 24)
    for b in (1e-9, 0.01, 0.5, 2.0, 5.0, 9.6, 20.0, 32.0)
    for share in (0.02, 0.15, 0.4, 1.0)
)


def needed(g: int, b: float) -> int:
    """Return a number of bits that holds the smallest F(B) next to 1."""
    small = (g + 1) * max(0.0, -math.log2(b)) + math.lgamma(g + 2) / math.log(2)
    return 192 + math.ceil(small + 2 * b)


def judged(above: list[Any], below: list[Any], b: Fraction, bits: int, label: str) -> Comparison:
    """Return whether one polynomial stays above the error of another on [-B, B]."""
    from proofs_check.arithmetic.balls import precision

    with precision(bits):
        return Comparison(0, margin(above, below, (-b, b)), label)


def _of_taylor(_bits: int, part: Fraction = Fraction(1)) -> Iterator[Comparison]:
    """Every majorant as it is made; those with odd parts, and the first of the others, also scaled
    to shorter intervals, to much shorter ones from the smallest half range only.
    """
    from approxattn.exponential.taylor_majorants import LEAST, majorants_at

    for g, b in _TAYLOR_SAMPLE:
        made = majorants_at(g, b)
        ratios = (Fraction(1), Fraction(27, 32), *[Fraction(1, 100)] * (b <= LEAST))
        for i, q in enumerate(made.tolist()):
            # scaling of even ones is a theorem (ours.majorant-scaling): one of them will do
            for ratio in ratios if i == 0 or any(q[1::2]) else ratios[:1]:
                scaled = [part * Fraction(c) * ratio ** (g + 1 - t) for t, c in enumerate(q)]
                end = Fraction(b) * ratio
                label = f"taylor, degree {g}, B = {b:g} times {ratio}, majorant {i}"
                yield judged(scaled, _taylor(g), end, needed(g, b * float(ratio)), label)


def _of_one_sided(_bits: int, part: Fraction = Fraction(1)) -> Iterator[Comparison]:
    """P and its majorant from the float64 numbers that are used."""
    from approxattn.exponential.one_sided import on_the_grid, with_majorant

    for g, b, sigma in _ONE_SIDED_SAMPLE:
        coefficients, majorants = with_majorant(g, *on_the_grid(b, sigma))
        above = [part * Fraction(c) for c in majorants.table[0].tolist()]
        below = [Fraction(c) for c in coefficients]
        label = f"one-sided, degree {g}, B = {b:g}, sigma = {sigma:g}"
        yield judged(above, below, Fraction(majorants.half_range), needed(g, b), label)


LIBRARY = Theorem(
    key="code.majorants",
    title="majorants as the library makes them",
    statement=(
        "Every majorant Q that approxattn.exponential makes for a Taylor or a one-sided polynomial "
        "P has Q >= |P - exp| on all of its [-B, B], also scaled to the shorter intervals it is "
        "used on; the coefficients are taken as the float64 numbers they are."
    ),
    source=our_code(
        "approxattn.exponential.taylor_majorants, .taylor_candidates, .one_sided and .majorants"
    ),
    reading=(
        "for Taylor, P with its real coefficients 1/t!, whose rounding the library adds; the whole "
        "interval, by balls and halving"
    ),
    experiments=(
        Enclose(
            certify=_of_taylor,
            covers="statement",
            scope=(
                "degrees 0 to 150, B from 2^-30 to 32, whole; the first of each and those with odd "
                "parts also scaled by 27/32 or 1/100"
            ),
        ),
        Enclose(
            certify=_of_one_sided,
            covers="statement",
            scope="degrees 0 to 24, B from 1e-9 to 32, standard deviations from B/50 to B",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_of_taylor, part=Fraction(99, 100)),
        covers="statement",
        scope="0.99 of the majorants of Taylor's polynomials",
    ),
    uses=("ours.majorant-descartes", "ours.majorant-scaling", "ours.majorant-leaning"),
)

THEOREMS = (DESCARTES, SCALING, LIBRARY)
