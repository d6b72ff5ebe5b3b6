"""What the polynomial method needs for a tolerance, and where that costs less than exact attention.

Cost model, in multiply-adds. Exact attention: p (d + dv) for p visible pairs of query and key. A
polynomial of degree g in its monomials: (n_q + n_k) r (dv + 2), r = C(d + g, g): making one feature
costs one product, adding it to numerator and denominator dv + 1, for each key and each query. With
n queries and n keys, a fraction c of all pairs visible and a fraction s of all keys, the polynomial
costs less from

    n = (1 + s) r (dv + 2) / (c (d + dv))

on: the break-even length. Time on a machine differs by a constant factor in either direction (exp,
memory traffic, matrix-product shapes).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from approxattn._problem import Problem
from approxattn.exponential import degree_for
from approxattn.methods.polynomials.centring import centre_scores
from approxattn.methods.polynomials.choosing.foresight import MOMENT_BASES, foresee, least_degree
from approxattn.monomials.index import MANY, rank

TOLERANCES = (1e-1, 1e-2, 1e-3)

QUICK_RANGE = 8.0
"""Half range up to which the minimax polynomial is always sought. *Chosen*: beyond, finding it
takes seconds; see `_degree`.
"""

WIDEST_RANGE = 53 * math.log(2) / 2
"""Half range beyond which no minimax polynomial is sought. *Chosen*: e^B and e^-B are then further
apart than float64 has digits, and every search we saw ended in vain, after seconds.
"""


@dataclass(frozen=True, kw_only=True)
class Need:
    """What the polynomial method needs for one tolerance.

    Attributes
    ----------
    tolerance : float
        Largest error as a fraction of the oscillation of each column of v.
    scores : {"certified", "measured", "moments"}
        Whether the half range is the O(n d) bound, which a certificate rests on, or the largest
        score found; "moments": the O(n d) bound with the moments of the scores of a few rows, which
        is what a tolerance chooses by (T5, `ours.moments`).
    half_range : float
        Largest absolute score, keys centred.
    basis : {"taylor", "minimax", "one-sided"}
        Family of polynomials.
    degree, rank : int or None
        Smallest degree g and the number of features C(d + g, g); None: none found that float64
        holds, or not sought because too many features.
    cost : float or None
        Multiply-adds of the method over those of exact attention on this problem.
    break_even : int or None
        Number of tokens from which on the method takes fewer.
    """

    tolerance: float
    scores: str
    half_range: float
    basis: str
    degree: int | None
    rank: int | None
    cost: float | None
    break_even: int | None

    @property
    def pays(self) -> bool:
        """Whether the method takes fewer multiply-adds than exact attention on this problem."""
        return self.cost is not None and self.cost < 1

    def __str__(self) -> str:
        degree = "-" if self.degree is None else str(self.degree)
        cost = "-" if self.cost is None else f"{self.cost:.3g}"
        return (
            f"{self.tolerance:<9g} {self.scores:<9} {self.half_range:>10.3g} {self.basis:<9} "
            f"{degree:>6} {count(self.rank):>7} {cost:>10} {count(self.break_even):>9}"
        )


HEADER = "tolerance scores    half range basis     degree    rank cost/exact pays from"


@dataclass(frozen=True, kw_only=True)
class _Costs:
    """Sizes of a problem that the cost model needs, means over the leading batch indices."""

    n_q: int
    n_k: int
    visible_keys: float
    pairs: float
    d: int
    dv: int

    def of(self, features: int) -> float:
        """Return the multiply-adds of the polynomial method over those of exact attention."""
        return (
            (self.n_q + self.visible_keys)
            * features
            * (self.dv + 2)
            / (self.pairs * (self.d + self.dv))
        )

    def break_even(self, features: int) -> int:
        """Return the number of tokens from which on the former are fewer, the fractions visible
        staying as they are.
        """
        pairs, keys = self.pairs / (self.n_q * self.n_k), self.visible_keys / self.n_k
        return math.ceil((1 + keys) * features * (self.dv + 2) / (pairs * (self.d + self.dv)))


def polynomial_needs(problem: Problem, half_ranges: Mapping[str, float]) -> tuple[Need, ...]:
    """Return the needs for all TOLERANCES: for each of the half ranges (by name) in both bases that
    need no more, and by moments.
    """
    costs, rows = _costs(problem), [*itertools.product(half_ranges, ("taylor", "minimax"))]
    degrees: dict[tuple[float, str, str], int | None] = {}
    for scores, basis in rows:
        degree: int | None = 0
        for tolerance in TOLERANCES:  # the loosest first: where it cannot be met, the others cannot
            if degree is not None:
                degree = _degree(half_ranges[scores], tolerance, basis, costs)
            degrees[tolerance, scores, basis] = degree
    seen = centre_scores(problem)
    widest, foresight = float(np.max(seen.bound)), foresee(problem, seen)
    for tolerance, basis in itertools.product(TOLERANCES, MOMENT_BASES):
        found = least_degree(foresight, widest, tolerance, basis)
        degrees[tolerance, "moments", basis] = found
    ranges = {**half_ranges, "moments": widest}
    rows += [("moments", basis) for basis in MOMENT_BASES]
    return tuple(
        _need(tolerance, scores, ranges[scores], basis, degrees[tolerance, scores, basis], costs)
        for tolerance, (scores, basis) in itertools.product(TOLERANCES, rows)
    )


def _need(
    tolerance: float, scores: str, half_range: float, basis: str, degree: int | None, costs: _Costs
) -> Need:
    features = None if degree is None else min(rank(costs.d, degree), MANY)
    return Need(
        tolerance=tolerance,
        scores=scores,
        half_range=half_range,
        basis=basis,
        degree=degree,
        rank=features,
        cost=None if features is None else costs.of(features),
        break_even=None if features is None else costs.break_even(features),
    )


def _costs(problem: Problem) -> _Costs:
    visible = problem.visible_keys  # (..., n_q)
    return _Costs(
        n_q=problem.n_q,
        n_k=problem.n_k,
        visible_keys=float(np.mean(np.max(visible, axis=-1))),
        pairs=float(np.mean(np.sum(visible, axis=-1, dtype=np.float64))),
        d=problem.d,
        dv=problem.dv,
    )


def _degree(half_range: float, tolerance: float, basis: str, costs: _Costs) -> int | None:
    """Return the smallest degree, or None.

    Where the range is wide, the minimax polynomial is sought only if one of degree g = half_range
    would pay. The degree needed for a tolerance of 0.1 or less has exceeded the half range wherever
    we looked beyond 2. So a polynomial that is not sought would not pay either.
    """
    if basis == "minimax" and half_range > QUICK_RANGE:
        pays = costs.of(min(rank(costs.d, int(half_range)), MANY)) <= 1
        if half_range > WIDEST_RANGE or not pays:
            return None
    try:
        return degree_for(half_range, tolerance, basis)
    except ValueError:
        return None


def count(n: int | None) -> str:
    """Format a count: whole up to a million, then in powers of ten; '-' for None."""
    return "-" if n is None else str(n) if n < 10**6 else f"{float(n):.2g}"
