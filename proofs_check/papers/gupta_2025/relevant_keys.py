"""Attention in one or two dimensions: which keys matter, and how few sets of them there are.

Read of Gupta et al. 2025: the abstract. It announces time O~(n^(2 - 1/d)) with a power of log B
only, for entries up to B. The finite facts behind such an algorithm, here and in `any_temperature`,
are ours.

1. Call a key relevant when its score is within c = ln(n / epsilon) of the row's best. Each other
   key has at most epsilon/n of the best weight.
2. So the others sum to t <= (n - 1) epsilon / n =: T, in units of the best weight. Their mass is
   t / (h + t) with h >= 1. The gap to the bound T / (1 + T) is (T (h - 1) + T - t) over
   (1 + T)(h + t).
3. T / (1 + T) = epsilon (n - 1) / (n + epsilon (n - 1)) < epsilon.
4. The relevant keys of a query q are those with q.k >= max - c. They are the keys in a half-plane,
   for d = 1 the first or the last few in order of size.
5. n points in general position have n^2 - n + 2 subsets cut off by half-planes, the empty and the
   whole one included; n points of a line have 2n. These are the numbers counted here.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cmp_to_key, partial

from proofs_check.papers.gupta_2025.source import CITATION
from proofs_check.statements.experiment import Comparison, Count, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status

ONE = Fraction(1)
SOURCE = Source(
    citation=CITATION,
    place="the algorithm for constant d, as the abstract announces it",
    fidelity="ours",
)

# --- which keys matter ----------------------------------------------------------------------------


def _mass_left_out() -> Iterator[Identity]:
    from sympy import QQ, field

    _, t, most, h, n, epsilon = field("t, T, h, n, epsilon", QQ)
    gap = most / (1 + most) - t / (h + t)
    yield Identity(gap, (most * (h - 1) + most - t) / ((1 + most) * (h + t)), "step 2")
    most = (n - 1) * epsilon / n
    yield Identity(most / (1 + most), epsilon * (n - 1) / (n + epsilon * (n - 1)), "step 3")


def _mass_attained(_bits: int, part: Fraction = ONE) -> list[Comparison]:
    """One best key; all others have epsilon/n of its weight."""
    found = []
    for n in (2, 16, 256, 65536):
        for epsilon in (Fraction(1, 2), Fraction(1, 100)):
            t = (n - 1) * epsilon / n
            bound = part * epsilon * (n - 1) / (n + epsilon * (n - 1))
            found.append(Comparison(t / (1 + t), bound, f"n = {n}, ε = {epsilon}"))
    return found


# --- how many sets of relevant keys ---------------------------------------------------------------

Point = tuple[int, int]


def _cross(a: Point, b: Point) -> int:
    return a[0] * b[1] - a[1] * b[0]


def _upper(a: Point) -> bool:
    return a[1] > 0 or (a[1] == 0 and a[0] > 0)


def _by_angle(a: Point, b: Point) -> int:
    if _upper(a) != _upper(b):
        return -1 if _upper(a) else 1
    return -1 if _cross(a, b) > 0 else int(_cross(a, b) < 0)


def _directions(points: list[Point]) -> list[Point]:
    """One direction between any two neighbouring ones that are normal to a line of two points."""
    normals = [
        (q[1] - p[1], p[0] - q[0])
        for i, p in enumerate(points)
        for j, q in enumerate(points)
        if i != j
    ]
    normals.sort(key=cmp_to_key(_by_angle))
    following = [*normals[1:], normals[0]]
    between = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(normals, following, strict=True)]
    return [u for u, a, b in zip(between, normals, following, strict=True) if _cross(a, b) > 0]


def _relevant_sets(n: int, *, line: bool = False) -> int:
    """Distinct sets {k : q.k >= c}, over all q and c, for n points of a parabola or of a line."""
    points = [(i, 0 if line else i * i) for i in range(n)]
    directions = [(1, 0), (-1, 0)] if line else _directions(points)
    found = set()
    for u in directions:
        order = sorted(range(n), key=lambda j: u[0] * points[j][0] + u[1] * points[j][1])
        found |= {frozenset(order[m:]) for m in range(n + 1)}
    return len(found)


def _half_planes(n: int, extra: int = 2) -> int:
    return n * n - n + extra


def _half_lines(n: int, fewer: int = 0) -> int:
    return 2 * n - fewer


RELEVANT = Theorem(
    key="gupta.relevant-keys",
    title="keys far below the best score may be left out",
    statement=(
        "Keys whose score is more than ln(n/ε) below the row's best have together at most the mass "
        "ε (n - 1)/(n + ε (n - 1)) < ε; equality when all others lie exactly there."
    ),
    source=SOURCE,
    experiments=(
        Symbolic(
            identities=_mass_left_out, covers="statement", scope="all n, ε, scores: steps 2, 3"
        ),
        Enclose(
            certify=_mass_attained,
            covers="statement",
            scope="equality at n = 2, 16, 256, 65536, ε = 1/2, 1/100",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_mass_attained, part=Fraction(99, 100)),
        covers="statement",
        scope="99/100 of the bound",
    ),
    uses=("top-k.tail-mass",),
)

SETS = Theorem(
    key="gupta.half-planes",
    title="how many sets of relevant keys there are in the plane",
    statement=(
        "n keys in general position in the plane have n² - n + 2 sets of the form {j : q·k_j >= "
        "c}, over all queries q and thresholds c."
    ),
    source=SOURCE,
    reading="d = 2; the keys lie on a parabola, no three on a line",
    experiments=(
        Count(
            measured=_relevant_sets,
            formula=_half_planes,
            sizes=(3, 4, 5, 6, 8, 10, 12),
            covers="statement",
            scope="every direction between two neighbouring normals, in whole numbers",
        ),
    ),
    expected=Status.PROVED,
    mutant=Count(
        measured=_relevant_sets,
        formula=partial(_half_planes, extra=1),
        sizes=(12,),
        covers="statement",
        scope="n² - n + 1",
    ),
    remarks=(
        "2^n sets would leave nothing to gain. The number is Cover's count of linearly separable "
        "dichotomies for d = 2.",
    ),
)

LINE = Theorem(
    key="gupta.half-lines",
    title="how many sets of relevant keys there are on a line",
    statement="n distinct keys in R have 2n sets of the form {j : q k_j >= c}.",
    source=SOURCE,
    reading="d = 1; q of either sign",
    experiments=(
        Count(
            measured=partial(_relevant_sets, line=True),
            formula=_half_lines,
            sizes=(2, 3, 8, 32),
            covers="statement",
            scope="both signs of q, every threshold",
        ),
    ),
    expected=Status.PROVED,
    mutant=Count(
        measured=partial(_relevant_sets, line=True),
        formula=partial(_half_lines, fewer=1),
        sizes=(32,),
        covers="statement",
        scope="2n - 1",
    ),
)

THEOREMS = (RELEVANT, SETS, LINE)
