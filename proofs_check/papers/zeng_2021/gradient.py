"""The exact gradient of YOSO-E, and the cosines that its forward pass takes the arccos of.

Citation and letters: `collision`.

a, b      unit rows q/|q|, k/|k|; x = <a, b> = cos theta
exact     dp/dq through q/|q|: (1/|q|) p'(x) (b - x a)
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.shared.source import here
from proofs_check.papers.zeng_2021.source import CITATION
from proofs_check.statements.experiment import (
    Assumption,
    Falsify,
    Identity,
    Instance,
    Symbolic,
)
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- the exact gradient ---------------------------------------------------------------------------
# 1. In the plane of q and k put q = r (1, 0) and k at angle theta: b - x a = (0, sin theta).
# 2. p'(x) = tau (1 - theta/pi)^(tau-1) / (pi sin theta). The two sines cancel.
# 3. Turning q by phi changes theta by -phi.
# 4. p does not depend on |q|, so the derivative along the arc is the whole gradient.


def _cone() -> list[Identity]:
    from sympy import Matrix, acos, cos, diff, pi, simplify, sin, sqrt, symbols

    r, theta, tau = symbols("r theta tau", positive=True)
    x, phi, s = symbols("x phi s", real=True)
    slope = simplify(diff((1 - acos(x) / pi) ** tau, x))
    claimed_slope = tau * (1 - acos(x) / pi) ** (tau - 1) / (pi * sqrt(1 - x**2))
    length = (Matrix([cos(theta), sin(theta)]) - cos(theta) * Matrix([1, 0])).T * Matrix([0, 1])
    turned = diff((1 - (theta - phi) / pi) ** tau, phi).subs(phi, 0) / r
    return [
        Identity(simplify(slope - claimed_slope), 0, "p'(x)"),
        Identity(simplify(length[0] - sin(theta)), 0, "|b - x a| = sin theta"),
        Identity(
            simplify(turned - tau / (pi * r) * (1 - theta / pi) ** (tau - 1)),
            0,
            "derivative along the arc, radius r",
        ),
        Identity(diff((1 - theta / pi) ** tau, s), 0, "none along q"),
    ]


def _cone_without_power() -> list[Identity]:
    from sympy import diff, symbols

    theta, half_turn = symbols("theta half_turn", positive=True)  # half_turn for pi
    return [Identity(-diff((1 - theta / half_turn) ** 2, theta), 2 / half_turn, "tau = 2")]


EXACT = Theorem(
    key="yoso.exact-gradient",
    title="the exact gradient through the unit rows is bounded",
    statement=(
        "|∇_q (1 - θ(q,k)/π)^τ| = τ (1 - θ/π)^(τ-1) / (π |q|) <= τ/(π |q|) for 0 < θ < π, although "
        "p'(x) -> ∞ as x -> 1."
    ),
    source=here(__name__, how="the sine of the tangent cancels that of p'"),
    reading=(
        "any dimension (only the plane of q and k moves θ), τ > 0 for the equality, τ >= 1 for the "
        "bound; at θ = 0 there is a cone point"
    ),
    experiments=(
        Symbolic(identities=_cone, covers="statement", scope="every r = |q| > 0, 0 < θ < π, τ > 0"),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=_cone_without_power, covers="statement", scope="τ/(π |q|) at every angle, τ = 2"
    ),
    uses=("yoso.collision",),
    remarks=(
        "The paper's code avoids this derivative because p'(x) alone diverges; with the division "
        "by |q| taken in, nothing does.",
    ),
)

# --- cosines beyond one ---------------------------------------------------------------------------
# A row (x, y) of binary32 numbers, divided by its rounded norm, may be longer than 1. Everything
# below is done in binary32, one rounding an operation; the exact value of the sum of squares
# decides, so that no library's order of summation matters.


def _unit32(x: int, y: int) -> list[Fraction]:
    """The row (x, y) divided by its Euclidean norm in binary32, as exact rationals."""
    row = np.array([x, y], dtype=np.float32)
    length = np.sqrt(np.float32(row[0] * row[0]) + np.float32(row[1] * row[1]))
    return [Fraction(float(entry)) for entry in row / np.float32(length)]


def _rows32() -> Any:
    from hypothesis import strategies as st

    return st.fixed_dictionaries({"x": st.integers(1, 40), "y": st.integers(1, 40)})


def _cosine(instance: Instance, most: Fraction = Fraction(1)) -> tuple[Fraction, Fraction]:
    """<a, a> of a computed unit row a, rounded once to binary32, against what it may be."""
    exact = sum((entry * entry for entry in _unit32(instance["x"], instance["y"])), Fraction(0))
    # 48-bit products and their sum are exact in binary64
    return Fraction(float(np.float32(float(exact)))), most


_SMALL_ROWS = Assumption(text="rows (x, y) of positive integers up to 40", predicate=None)


def _clipped(instance: Instance) -> tuple[Fraction, Fraction]:
    """The same product, clipped to at most 1."""
    computed, most = _cosine(instance)
    return min(computed, Fraction(1)), most


_EXAMPLES: tuple[Instance, ...] = ({"x": 1, "y": 4},)


def _of_rows(confirm: Any) -> Falsify:
    return search_by(
        confirm,
        instances=_rows32,
        assumptions=(_SMALL_ROWS,),
        examples=_EXAMPLES,
        tries=150,
        scope="rows (x, y) of positive integers up to 40",
    )


DOMAIN = Theorem(
    key="yoso.float32-domain",
    title="the computed cosine of parallel rows in binary32",
    statement=(
        "The product of a row, normalised in binary32, with itself is at most 1 after rounding, so "
        "that arccos of it is a number."
    ),
    source=Source(
        citation=CITATION,
        place=("yoso_v1/kernel.py: normalize, then torch.acos of the product, without clipping"),
        fidelity="constants made explicit",
        wording_verified=True,
    ),
    reading=(
        "norm, division and product each rounded as well as binary32 allows; a library may do worse"
    ),
    alternative_readings=(
        "With the cosine clipped to [-1, 1], as `approxattn` does, nothing is NaN.",
    ),
    assumptions=(_SMALL_ROWS,),
    experiments=(_of_rows(_cosine),),
    expected=Status.REFUTED,
    mutant=_of_rows(partial(_cosine, most=1 + Fraction(1, 2**24))),
    kind="code",
    repaired=_of_rows(_clipped),
    defence=(
        "The second version multiplies the cosine by 0.98, which avoids the NaN at a small bias, "
        "and parallel rows to the last bit are rare in training. In the first version, which the "
        "paper's YOSO-E refers to, one query equal to a key is enough."
    ),
    by_hand=ByHand(
        instance="The row (1, 4), divided by sqrt(17) in binary32: (0.242535636, 0.970142543).",
        shows=(
            "Its product with itself is 1.000000089, in binary32 1 + 2⁻²³; the arc cosine of that "
            "is NaN."
        ),
        instead="With the cosine clipped to [-1, 1] no row is lost.",
    ),
    remarks=(
        "arccos of a number beyond 1 is NaN, and so is the whole output row: a query that equals a "
        "key loses its row.",
    ),
)

THEOREMS = (EXACT, DOMAIN)
