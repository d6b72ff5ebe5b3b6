"""What the polynomial method does numerically, and the two gradients it could have.

Nothing here is a quotation. P_g is the Taylor polynomial of exp of degree g.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status

_HERE = here(__name__)

# --- cancellation in monomials --------------------------------------------------------------------
# Let g be even, 0 <= y <= B.
#
# 1. At x = y the sum of the terms' sizes is P_g(y) itself.
# 2. At x = -y it is P_g(y). (e^y P_g(-y))' = e^y y^g/g! >= 0, so e^y P_g(-y) >= 1.
# 3. P_g(y) <= e^y, so P_g(y) <= e^{2y} P_g(-y) <= e^{2B} P_g(-y).
# 4. P_g(B)/P_g(-B) tends to e^{2B} as g grows.


def _by_parts() -> Iterator[Identity]:
    """Step 2: P_g(-y) + (P_g(-y))' = y^g/g!, and the sign of the last term."""
    from math import factorial

    from sympy import QQ, ring

    _, y = ring("y", QQ)
    for g in range(2, 41, 2):
        p = sum(((-y) ** t * QQ(1, factorial(t)) for t in range(g + 1)), 0 * y)
        yield Identity(p + p.diff(y), y**g * QQ(1, factorial(g)), f"g = {g}")


def _taylor(x: Fraction, g: int) -> Fraction:
    total = term = Fraction(1)
    for t in range(1, g + 1):
        term = term * x / t
        total += term
    return total


_CELLS = tuple((Fraction(b), g) for b in (Fraction(1, 2), 1, 2, 4, 8) for g in (2, 4, 8, 16, 32))


def _amplified(_bits: int, exponent: Fraction = Fraction(2)) -> list[Comparison]:
    comparisons = []
    for b, g in _CELLS:
        for x in (-b, -b / 2, b):
            ratio = _taylor(abs(x), g) / _taylor(x, g)
            comparisons.append(
                Comparison(ball(ratio), ball(exponent * b).exp(), f"B = {b}, g = {g}, x = {x}")
            )
    return comparisons


def _approached(_bits: int) -> list[Comparison]:
    return [
        Comparison(
            ball(2 * b).exp() * ball(Fraction(99, 100)),
            ball(_taylor(b, 64) / _taylor(-b, 64)),
            f"B = {b}, g = 64",
        )
        for b in (Fraction(1), Fraction(4), Fraction(8))
    ]


def _both(bits: int) -> list[Comparison]:
    return [*_amplified(bits), *_approached(bits)]


CONDITIONING = Theorem(
    key="ours.monomial-conditioning",
    title="cancellation in the monomials of a Taylor polynomial",
    statement=(
        "Σ_t |x|^t/t! <= e^{2B} P_g(x) for |x| <= B and even g, and e^{2B} is approached at x = "
        "-B: about log₁₀ e^{2B} digits can be lost."
    ),
    source=_HERE,
    reading=(
        "terms up to degree g against their sum; with a unit roundoff of 6e-8, float32 keeps two "
        "digits up to B of about 5.5"
    ),
    experiments=(
        Symbolic(
            identities=_by_parts,
            covers="statement",
            scope="every even g from 2 to 40, all B and x",
        ),
        Enclose(
            certify=_both,
            covers="statement",
            scope=(
                "B from 1/2 to 8, even g from 2 to 32, x = -B, -B/2, B; within 1 % of e^{2B} at "
                "g = 64"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_amplified, exponent=Fraction(199, 100)),
        covers="statement",
        scope="e^{1.99 B}",
    ),
    uses=("ours.even-taylor",),
)

# --- two gradients --------------------------------------------------------------------------------
# 1. Let o = N/D, N = sum_j P_g(s_j) z_j, D = sum_j P_g(s_j).
# 2. The consistent gradient is do/ds_l = P_{g-1}(s_l) (z_l - o)/D.
# 3. The plug-in gradient is P_g(s_l) (z_l - o)/D. Its rows sum to 0.
# 4. Those of the consistent one sum to -sum_l (s_l^g/g!) (z_l - o)/D, since P_{g-1} = P_g - s^g/g!.


def _gradients(g: int = 2, *, plug_in: bool = False) -> Iterator[Identity]:
    from math import factorial

    from sympy import QQ, field

    names = [*(f"s{j}" for j in range(3)), *(f"z{j}" for j in range(3))]
    _, *symbols = field(names, QQ)
    s, z = symbols[:3], symbols[3:]
    terms = [[x**t / factorial(t) for t in range(g + 1)] for x in s]
    weights, slopes = [sum(t, 0 * s[0]) for t in terms], [sum(t[:-1], 0 * s[0]) for t in terms]
    total = sum(weights, 0 * s[0])
    o = sum((w * v for w, v in zip(weights, z, strict=True)), 0 * s[0]) / total
    consistent = [
        (w if plug_in else p) * (v - o) / total for w, p, v in zip(weights, slopes, z, strict=True)
    ]
    for x, found in zip(s, consistent, strict=True):
        yield Identity(o.diff(x), found, "derivative of the output")
    lost = sum((t[-1] * (v - o) for t, v in zip(terms, z, strict=True)), 0 * s[0]) / total
    yield Identity(sum(consistent, 0 * s[0]), -lost, "sum of a row")
    yield Identity(
        sum((w * (v - o) for w, v in zip(weights, z, strict=True)), 0 * s[0]),
        0 * s[0],
        "sum of a plug-in row",
    )


GRADIENTS = Theorem(
    key="ours.two-gradients",
    title="plug-in and consistent gradients of polynomial attention",
    statement=(
        "For weights P_g(s_j)/D the derivative of the output is P_{g-1}(s_l)(z_l - o)/D, not "
        "P_g(s_l)(z_l - o)/D, which puts the weights into the gradient of softmax attention. Rows "
        "of the second sum to 0, those of the first to -Σ_l (s_l^g/g!)(z_l - o)/D."
    ),
    source=_HERE,
    reading="one row, Taylor polynomial; the papers' gradient is the plug-in one",
    experiments=(
        Symbolic(
            identities=_gradients, covers="statement", scope="3 keys, g = 2, all scores and values"
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_gradients, plug_in=True),
        covers="statement",
        scope="the plug-in gradient as the derivative of the output",
    ),
    uses=("ours.gradient",),
)

THEOREMS: tuple[Any, ...] = (CONDITIONING, GRADIENTS)
