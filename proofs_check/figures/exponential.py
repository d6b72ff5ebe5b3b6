"""Polynomials next to exp: degrees, least errors, ranks, and what an odd Taylor polynomial does."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from proofs_check.arithmetic.balls import ball
from proofs_check.figures.record import Axis, Figure, Key, Mark, Panel, Printed, Series
from proofs_check.papers.aggarwal_alman_2022.degree_table import DEGREES, HALF_WIDTHS, TOLERANCES
from proofs_check.papers.ours.taylor import TAYLOR_DEGREES


def degrees(tiny: bool = False) -> Figure:
    """Least degree of any polynomial and of a Taylor polynomial, by accuracy."""
    rows = (1, 5) if tiny else (1, 3, 5)
    digits = [-math.log10(eps) for eps in TOLERANCES]
    series = []
    for i in rows:
        b = float(HALF_WIDTHS[i])
        least = DEGREES["additive"][i]
        order = [max(b, _quotient(b, eps)) for eps in map(float, TOLERANCES)]
        series += [
            Series(label=f"B = {b:g}", x=digits, y=least, colour=i),
            Series(label="", x=digits, y=TAYLOR_DEGREES[i], kind="dashed", colour=i),
            Series(label="", x=digits, y=order, kind="dotted", colour=i),
        ]
    best, taylor = DEGREES["additive"][-1][-1], TAYLOR_DEGREES[-1][-1]
    relative = DEGREES["relative"][-1][-1]
    return Figure(
        name="degrees",
        title="Least degree of a polynomial within ε of exp on [-B, B]",
        claims=("aa22.minimal-degrees-table", "ours.taylor-degrees", "aa22.degree-formula"),
        caption=f"The least degrees of any polynomial and of Taylor's are certified from both "
        f"sides, at whole numbers of digits. At B = 16 and 1e-12 the best polynomial has "
        f"degree {best} (relative error: {relative}), the Taylor polynomial {taylor}. The order is "
        f"max{{B, L / log(L/B)}} with constant 1 and L = log(1/ε); it says nothing where L <= B.",
        panels=(
            Panel(
                x=Axis(label="digits, log₁₀(1/ε)"),
                y=Axis(label="degree"),
                series=tuple(series),
                keys=(
                    Key(label="any polynomial", kind="line"),
                    Key(label="Taylor", kind="dashed"),
                    Key(label="order", kind="dotted"),
                ),
                legend="below",
            ),
        ),
        facts={"best": best, "relative": relative, "taylor": taylor},
    )


def _quotient(b: float, eps: float) -> float:
    accuracy = math.log(1 / eps)
    return accuracy / math.log(accuracy / b) if accuracy > math.e * b else math.nan


def least_error(tiny: bool = False) -> Figure:
    """E_n(B) between its bounds from Bessel functions."""
    widths = (Fraction(2), Fraction(8)) if tiny else (Fraction(1, 2), Fraction(2), Fraction(8))
    series = []
    ratios = []
    for i, b in enumerate(widths):
        n = list(range(2, 10 if tiny else 33, 2))
        low = [2 * _bessel_sum(m + 1, 2 * (m + 1), b) for m in n]
        high = [2 * _bessel_sum(m + 1, 1, b) for m in n]
        ratios.append(high[-1] / low[-1])
        series += [
            Series(label="", x=n, y=high, low=low, kind="band", colour=i),
            Series(label=f"B = {float(b):g}", x=n, y=high, colour=i),
            Series(label="", x=n, y=low, kind="dashed", colour=i),
        ]
    return Figure(
        name="least-error",
        title="Least error of a polynomial next to exp on [-B, B]",
        claims=("aa22.minimax-bounds", "aa22.chebyshev-tail"),
        caption="Between 2 times the sum of I_k(B) over odd multiples of n + 1, and over all "
        "k > n. Their quotient falls like 1 + B / (2 n).",
        panels=(
            Panel(
                x=Axis(label="degree n"),
                y=Axis(label="max |P - exp| on [-B, B]", log=True),
                series=tuple(series),
                keys=(
                    Key(label="at most", kind="line"),
                    Key(label="at least", kind="dashed"),
                ),
            ),
        ),
        facts={"last ratio": max(ratios)},
    )


def _bessel_sum(first: int, step: int, b: Fraction) -> float:
    """Sum I_k(b) over k = first, first + step, ...: terms fall faster than geometrically."""
    terms = [ball(b).bessel_i(ball(first + m * step)) for m in range(40)]
    return float(sum(terms, ball(0)).mid())


def as23_degree(tiny: bool = False) -> Figure:
    """The degree with R where R squared belongs, on the line L = R^2 ln R."""
    from proofs_check.papers.alman_song_2023.degree import least_over_permitted

    powers = list(range(1, 121, 20 if tiny else 1))
    series = []
    crossing = {}
    for constant in (1, 2, 5, 10):
        ratio = [least_over_permitted(p, constant) for p in powers]
        series.append(Series(label=f"C = {constant}", x=powers, y=ratio))
        above = [p for p, r in zip(powers, ratio, strict=True) if r > 1]
        crossing[f"first failure, C = {constant}"] = float(above[0]) if above else math.inf
    at_40 = least_over_permitted(40, 10)
    return Figure(
        name="as23-degree",
        title="The degree of AS23 with R for R²: is any polynomial good enough?",
        claims=("as23.degree",),
        caption="Least error over permitted error, at degree C max{L / log(L/R), R²} and "
        "L = R² ln R. Above the line at 1 no polynomial of that degree is good enough. Every "
        "constant C fails once ln R > C (ln 2C - 1) + 1; where the paper uses the lemma, "
        "R = o(sqrt(log n)), both readings give a degree of o(log n).",
        panels=(
            Panel(
                x=Axis(label="log₂ R"),
                y=Axis(label="(least / permitted error) to the power 1/R²", log=True),
                series=tuple(series),
                marks=(Mark(text="permitted", y=1.0),),
            ),
        ),
        printed=(Printed(what="R = 2^40, C = 10", source="at most 1", ours=f"{at_40:.2f}"),),
        facts={"at 2^40": at_40, **crossing},
    )


def ranks(tiny: bool = False) -> Figure:
    """Number of monomials against the rank that the paper prints."""
    d, top = 8, 5 if tiny else 11
    g = list(range(top))
    ours = [math.comb(d + t, t) for t in g]
    printed = [math.comb(2 * (t + d), 2 * t) for t in g]
    return Figure(
        name="ranks",
        title="Rank of a polynomial of degree g in q · k, d = 8",
        claims=("as23.low-rank", "aa22.kernel-rank"),
        caption="C(d + g, g) monomials are enough; C(2 (g + d), 2 g) is what Lemma 3.2 counts. A "
        "rank above n is worth nothing.",
        panels=(
            Panel(
                x=Axis(label="degree g"),
                y=Axis(label="rank", log=True),
                series=(
                    Series(label="C(d + g, g), enough", x=g, y=ours),
                    Series(label="C(2 (g + d), 2 g), printed", x=g, y=printed, kind="dashed"),
                ),
                marks=(Mark(text="n = 10⁴", y=1e4), Mark(text="n = 10⁶", y=1e6)),
            ),
        ),
        printed=(Printed(what="g = 4", source=f"{printed[4]:,}", ours=f"{ours[4]:,}"),),
        facts={"ours at 4": ours[4], "printed at 4": printed[4]},
    )


def even_and_odd(tiny: bool = False) -> Figure:
    """Taylor polynomials of degree 3 and 4, and the output that a negative weight makes."""
    x = np.linspace(-4, 1, 21 if tiny else 201)
    p3, p4 = _taylor(3, x), _taylor(4, x)
    scores, values = np.array([0.0, -4.0, -4.0]), np.array([-1.0, 1.0, 1.0])
    weights = _taylor(3, scores)
    odd = float(weights @ values / weights.sum())
    right = float(np.exp(scores) @ values / np.exp(scores).sum())
    return Figure(
        name="even-and-odd",
        title="Taylor polynomials of even and odd degree",
        claims=("sata.odd-degree", "ours.even-taylor", "sata.convex-hull"),
        caption=f"Even ones are positive everywhere. P₃ is {p3[0]:.2f} at -4. A row with scores "
        f"(0, -4, -4) and values (-1, 1, 1) has the output {right:.2f}; with P₃ for exp it is "
        f"{odd:.2f}, and values lie in [-1, 1].",
        panels=(
            Panel(
                x=Axis(label="score s"),
                y=Axis(label="weight"),
                series=(
                    Series(label="exp", x=x, y=np.exp(x)),
                    Series(label="P₃", x=x, y=p3, kind="dashed"),
                    Series(label="P₄", x=x, y=p4, kind="dotted"),
                ),
                marks=(Mark(text="0", y=0.0),),
            ),
        ),
        facts={"P_3(-4)": float(p3[0]), "odd": odd, "exact": right},
    )


def _taylor(degree: int, x: np.ndarray) -> np.ndarray:
    return np.asarray(sum((x**t / math.factorial(t) for t in range(1, degree + 1)), 0 * x + 1))
