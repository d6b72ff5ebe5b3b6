"""What hashing does to YOSO-m: Hadamard transforms for hyperplanes, and the error in m and n.

Letters: `collision`.

HD3       the rows of H D3 H D2 H D1, H the Walsh-Hadamard matrix, D1, D2, D3 random diagonals of
          signs; they take the place of independent hyperplanes
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import cache, partial
from typing import Any

import numpy as np

from proofs_check.papers.shared.searches import search_by
from proofs_check.papers.shared.source import here
from proofs_check.papers.zeng_2021.source import CITATION
from proofs_check.papers.zeng_2021.variance import row_error
from proofs_check.statements.experiment import (
    Assumption,
    Identity,
    Instance,
    Plan,
    Sample,
    Symbolic,
)
from proofs_check.statements.theorem import ByHand, Source, Theorem
from proofs_check.statements.verdict import Status

# --- codes of Hadamard hashes ---------------------------------------------------------------------
# D = 4: 2^12 equally likely draws, signs of integer sums, everything exact.

_WIDTH = 4


@cache
def _draws() -> np.ndarray:
    """All 2^12 matrices H D3 H D2 H D1, integers, shape (4096, 4, 4)."""
    h = np.array([[(-1) ** (i & j).bit_count() for j in range(_WIDTH)] for i in range(_WIDTH)])
    signs = np.array(list(itertools.product((1, -1), repeat=3 * _WIDTH))).reshape(-1, 3, _WIDTH)
    first, second, third = (h * signs[:, i, None, :] for i in range(3))
    return np.asarray(third @ second @ first)


def _code_collision(x: tuple[int, ...], y: tuple[int, ...], bits: int) -> Fraction:
    """Share of the draws in which the first `bits` signs of x and y agree."""
    rows = _draws()[:, :bits]
    met = np.all((rows @ np.array(x) > 0) == (rows @ np.array(y) > 0), axis=1)
    return Fraction(int(met.sum()), len(rows))


_PLACES = (((7, 2, 1, -3), (6, -2, 3, 4)), ((4, 1, 6, 2), (-6, 3, 5, -1)))


def _integer_pairs() -> Any:
    from hypothesis import strategies as st

    vector = st.lists(st.integers(-7, 7), min_size=_WIDTH, max_size=_WIDTH)
    return st.fixed_dictionaries({"x": vector, "y": vector})


def _generic_and_far(instance: Instance) -> bool:
    """No sign ties under any draw, and the angle at least pi/3."""
    x, y = (np.array(instance[name]) for name in "xy")
    if not x.any() or not y.any() or 4 * int(x @ y) * abs(int(x @ y)) > int(x @ x) * int(y @ y):
        return False
    return bool((_draws() @ x).all() and (_draws() @ y).all())


def _power(instance: Instance, factor: Fraction = Fraction(1)) -> tuple[Any, Any]:
    """p^4 for independent hyperplanes, against the counted collisions of codes of four bits,
    divided by a factor.
    """
    from flint import arb, fmpq

    x, y = instance["x"], instance["y"]
    inner, square = (
        sum(a * b for a, b in zip(x, y, strict=True)),
        sum(a * a for a in x) * sum(b * b for b in y),
    )
    p = 1 - (arb(inner) / arb(square).sqrt()).acos() / arb.pi()
    counted = _code_collision(tuple(x), tuple(y), _WIDTH) / factor
    return p**_WIDTH, arb(fmpq(counted.numerator, counted.denominator))


_GENERIC = Assumption(
    text="integer vectors of width 4 without sign ties, at least π/3 apart",
    predicate=_generic_and_far,
)
_EXAMPLES = tuple({"x": x, "y": y} for x, y in _PLACES)

HADAMARD = Theorem(
    key="yoso.hadamard-collision",
    title="codes of HD3HD2HD1 as if their bits were independent",
    statement=(
        "Codes of τ bits from the rows of H D3 H D2 H D1 collide with probability at least (1 - "
        "θ/π)^τ, so the fast hash estimates YOSO-E."
    ),
    source=Source(
        citation=CITATION,
        place="fast_hash of the authors' code, used in the place of Gaussian hyperplanes",
        fidelity="constants made explicit",
    ),
    reading=(
        "D = 4, τ = 4: one code from all rows of a block; the other direction is what a far pair "
        "fails"
    ),
    assumptions=(_GENERIC,),
    experiments=(
        search_by(
            _power,
            instances=_integer_pairs,
            assumptions=(_GENERIC,),
            examples=_EXAMPLES,
            tries=60,
            scope="integer vectors of width 4, all 4096 draws of signs enumerated",
        ),
    ),
    expected=Status.REFUTED,
    mutant=search_by(
        partial(_power, factor=Fraction(9, 10)),
        instances=_integer_pairs,
        assumptions=(_GENERIC,),
        examples=_EXAMPLES,
        tries=60,
        scope="10/9 of the counted collisions",
    ),
    repaired_by="yoso.collision",
    kind="sharpness",
    defence=(
        'No text claims "at least", and the code never takes all rows of a block of width 4 for '
        "one code. The entry only shows that orthogonal rows are not independent; how much it "
        "costs at a width in use is yoso.hadamard-bias."
    ),
    by_hand=ByHand(
        instance=(
            "D = τ = 4 and <x, y> < 0, for example at 120 degrees; M = H D3 H D2 H D1 has MᵀM = 64 "
            "I."
        ),
        shows=(
            "Equal signs in all four rows would make 64 <x, y> = Σ_i (Mx)_i (My)_i positive: "
            "probability 0. Independent hyperplanes give (1/3)⁴ = 0.0123."
        ),
    ),
    remarks=(
        (
            "The rows of one block are orthogonal, so the bits of a code are not independent; "
            "single bits agree with probability 1 - θ/π nearly."
        ),
        (
            "A code made of all rows of a block (τ = D) never collides beyond a right angle: equal "
            "signs make <q, k> a sum of positive terms."
        ),
    ),
)

_D, _TAU = 32, 8
_FAR = np.zeros((2, _D))
_FAR[0], _FAR[1] = np.random.default_rng(3).standard_normal((2, _D))
_FAR[1] -= (_FAR[1] @ _FAR[0]) / (_FAR[0] @ _FAR[0]) * _FAR[0]  # a right angle


def _transform(x: np.ndarray) -> np.ndarray:
    """The Walsh-Hadamard transform of the last axis, as a product."""
    h = np.array([[1.0 - 2 * ((i & j).bit_count() % 2) for j in range(_D)] for i in range(_D)])
    return np.asarray(x @ h)


def _draw_fast_collision(rng: np.random.Generator, m: int) -> np.ndarray:
    """Whether the first code of 8 bits of the fast hash agrees for two orthogonal vectors."""
    x = np.broadcast_to(_FAR, (m, 2, _D))
    for _ in range(3):
        x = _transform(x * rng.choice((-1.0, 1.0), (m, 1, _D)))
    return np.asarray(np.all((x[:, 0, :_TAU] > 0) == (x[:, 1, :_TAU] > 0), axis=1))


BIAS = Theorem(
    key="yoso.hadamard-bias",
    title="how far the fast hash is from YOSO-E",
    statement=(
        "At d = 32, τ = 8 and a right angle, codes of HD3HD2HD1 collide with probability at most "
        "0.8 · 2^-8, not 2^-8."
    ),
    source=here(__name__, how="measured; exact orthonormal rows give 0.65 · 2^-8"),
    reading="one pair of generic orthogonal vectors; the first code of a block",
    experiments=(
        Sample(
            draw=_draw_fast_collision,
            claim="probability <=",
            target=0.8 * 2.0**-_TAU,
            plan=Plan(n=900_000, sampler="signs of D1, D2, D3"),
            covers="statement",
            scope="one pair of Gaussian vectors made orthogonal, d = 32, τ = 8",
        ),
    ),
    expected=Status.SUPPORTED,
    mutant=Sample(
        draw=_draw_fast_collision,
        claim="probability <=",
        target=0.5 * 2.0**-_TAU,
        plan=Plan(n=900_000, sampler="signs of D1, D2, D3"),
        covers="statement",
        scope="half of 2^-8",
    ),
    uses=("yoso.collision",),
)

# --- error against m and n ------------------------------------------------------------------------


def _slope() -> Iterator[Identity]:
    """The error is sqrt(c/m) with c free of m (`yoso.variance`), so d log error / d log m = -1/2;
    enumerated errors obey it exactly.
    """
    from sympy import diff, log, simplify, sqrt, symbols

    c, m = symbols("c m", positive=True)
    yield Identity(simplify(m * diff(log(sqrt(c / m)), m)), Fraction(-1, 2), "log-log slope")
    values = ((1, 2), (3, -1), (0, 1), (2, 2))
    one = row_error((0, 0, 1, 3), values, 1)
    for hashes in (2, 3):
        yield Identity(
            hashes * row_error((0, 0, 1, 3), values, hashes),
            one,
            f"m times the squared error, m = {hashes}",
        )


def _slope_of_one() -> Iterator[Identity]:

    values = ((1, 2), (3, -1), (0, 1), (2, 2))
    yield Identity(
        4 * row_error((0, 0, 1, 3), values, 2),
        row_error((0, 0, 1, 3), values, 1),
        "m^2 times the squared error",
    )


SLOPE = Theorem(
    key="yoso.error-in-hashes",
    title="error against the number of hashes",
    statement=(
        "√E|Ŷ_i - Y_i|² = m^(-1/2) · (a number free of m): the log-log slope in m is -1/2 exactly."
    ),
    source=here(__name__, how="from yoso.variance"),
    reading="independent hashes, any keys and values",
    experiments=(
        Symbolic(
            identities=_slope,
            covers="statement",
            scope="every m by yoso.variance; one row of 4 keys enumerated for m = 1, 2, 3, τ = 1",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=_slope_of_one, grade="exact-rational", covers="statement", scope="slope -1"
    ),
    uses=("yoso.variance",),
    bookkeeping=True,
)

# 1. n keys drawn at random, values 1: given the hash, the row is n times the mass mu of the bucket
#    of
#    q, plus fluctuations of order sqrt n.
# 2. Let the keys be evenly spread over the circle (multiples of 2 pi/n, n a multiple of 12) and
#    take
#    one bit. The bucket is always a half circle: mu = 1/2 surely, and the error vanishes.
# 3. Let half of the keys lie at q and half at a right angle. Then mu is 1 or 1/2, and the relative
#    error is that of n = 2 for every n.
# 4. With h keys in each half the row is 2 h or h, each with probability 1/2.


def _every_n(ninth: int = 9) -> Iterator[Identity]:
    """Step 4, for every number h of keys in a half."""
    from sympy import QQ, field

    _, h = field("h", QQ)
    mean = (2 * h + h) / 2
    square = ((2 * h - mean) ** 2 + (h - mean) ** 2) / 2
    yield Identity(square / mean**2, QQ(1, ninth) + 0 * h, "relative squared error, every n")


def _floor() -> Iterator[Identity]:

    two = row_error((0, 3), ((1,), (1,)), 1)
    for half in (1, 2, 4, 8):
        keys = (0,) * half + (3,) * half
        error = row_error(keys, ((1,),) * (2 * half), 1)
        expected = Fraction(3, 2) * half  # sum of p_j = half (1 + 1/2)
        yield Identity(
            error / expected**2,
            two / Fraction(3, 2) ** 2,
            f"relative squared error, n = {2 * half}",
        )


FLOOR = Theorem(
    key="yoso.floor-in-tokens",
    title="error against the number of tokens",
    statement=(
        "With values of common mean the relative error does not vanish as n grows: for half the "
        "keys at q, half at a right angle, it is the same for every n."
    ),
    source=here(__name__, how="from yoso.variance: keys of one row share the hash"),
    reading="relative squared error E|Ŷ - Y|²/|Y|² = 1/(9 m) at τ = 1; only more hashes reduce it",
    experiments=(
        Symbolic(identities=_every_n, covers="statement", scope="every n, values 1, τ = 1, m = 1"),
        Symbolic(
            identities=_floor,
            grade="exact-rational",
            covers="statement",
            scope="n = 2, 4, 8, 16, values 1, τ = 1, m = 1, every hash enumerated",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_every_n, ninth=10), covers="statement", scope="1/10 in place of 1/9"
    ),
    uses=("yoso.variance",),
)

THEOREMS = (HADAMARD, BIAS, SLOPE, FLOOR)
