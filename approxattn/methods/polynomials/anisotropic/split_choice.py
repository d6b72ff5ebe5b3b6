"""Which head, which tail and which degrees: the set of monomials of least rank that keeps a
tolerance.

Symbols. The head are the first d' coordinates, the tail the other d''; the scores of both parts are
at most b and t in size. P_h has the degree g_h and the relative error eps_h on [-b, b], h <= H. The
whole error of `anisotropic` is e^t (sum_h eps_h t^h / h! + rest), and must be at most a target.

1. First search: for every d' and H <= 3 the degrees g_0 >= ... >= g_H of least rank that meet the
   target with an estimate for eps_h, b^{g+1} / (2^g (g+1)!) (*chosen*: the leading term of the
   Chebyshev series), and with about the largest b and t. The best d' and H are kept.
2. Second search: for these, degrees that meet the target with the true eps_h and rounded-up b, t.
3. Both searches give every term an equal share of the target, then lower degrees one by one, the
   largest saving first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn._problem import Problem
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import row_norms, visible_max
from approxattn.exponential import ExpPolynomial, exp_polynomial
from approxattn.exponential.chebyshev import TooLowDegreeError
from approxattn.exponential.degree import expected_error
from approxattn.methods.polynomials.anisotropic.coordinates import Coordinates
from approxattn.monomials.split import split_rank

MOST_DEGREE = 40
"""*Chosen*: more never pays."""

MOST_TAIL_DEGREE = 3
"""*Chosen*: a tail that needs more belongs to the head."""

Error = Callable[[int, float], float]
"""The relative error of a degree on [-b, b]."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """A head of d' coordinates, a tail of d'', the polynomials P_0 ... P_H, and bounds on the
    scores of both parts, shapes (..., n_q).
    """

    head: int
    tail: int
    polynomials: tuple[ExpPolynomial, ...]
    heads: HostArray
    tails: HostArray

    @property
    def degrees(self) -> tuple[int, ...]:
        """g_0 ... g_H."""
        return tuple(p.degree for p in self.polynomials)

    @property
    def rank(self) -> int:
        """The number of features."""
        return split_rank(self.head, self.tail, self.degrees)

    @property
    def table(self) -> tuple[tuple[float, ...], ...]:
        """Coefficients of P_h / h!."""
        return tuple(
            tuple(c / math.factorial(h) for c in p.coefficients)
            for h, p in enumerate(self.polynomials)
        )


@dataclass(frozen=True, kw_only=True)
class _Goal:
    """What degrees are sought for: parts of d' and d'' coordinates with scores of at most b and t,
    a tail of degree H, a target, and the step of the degrees.
    """

    head: int
    tail: int
    order: int
    b: float
    t: float
    target: float
    step: int = 1

    @property
    def terms(self) -> list[float]:
        """t^h / h!."""
        return [self.t**h / math.factorial(h) for h in range(self.order + 1)]

    @property
    def budget(self) -> float:
        """What sum_h eps_h t^h / h! may be."""
        left = self.target * math.exp(-self.t)
        return (left - float(rest_of_exp(self.t, self.order))) * (1 - 1e-9)


def choose_split(
    problem: Problem, coordinates: Coordinates, tolerance: float, basis: str, limit: int
) -> Split | None:
    """Return the split of least rank that keeps the tolerance; None if there is none of a rank
    below `limit`.
    """
    target = math.tanh(2 * math.atanh(tolerance)) * (1 - 1e-6)
    shape = _best_shape(problem, coordinates, target, limit)
    return None if shape is None else _settled(problem, coordinates, shape, target, basis, limit)


def _best_shape(
    problem: Problem, coordinates: Coordinates, target: float, limit: int
) -> tuple[int, int] | None:
    """Return d' and H by the first search."""
    heads, tails = (np.append(sizes, 0.0) for sizes in _part_sizes(problem, coordinates))
    best, least = None, limit
    for head, order in itertools.product(range(1, problem.d), range(MOST_TAIL_DEGREE + 1)):
        goal = _Goal(
            head=head,
            tail=problem.d - head,
            order=order,
            b=float(heads[head]),
            t=float(tails[head]),
            target=target,
        )
        degrees = _degrees(goal, expected_error)
        if degrees is not None and split_rank(goal.head, goal.tail, degrees) < least:
            best, least = (head, order), split_rank(goal.head, goal.tail, degrees)
    return best


def _settled(
    problem: Problem,
    coordinates: Coordinates,
    shape: tuple[int, int],
    target: float,
    basis: str,
    limit: int,
) -> Split | None:
    """Return the split of the second search; None if its rank reaches the limit, or if float64
    coefficients cannot hold a polynomial that was tried.
    """
    head, order = shape
    b, t = part_bounds(problem, coordinates, head)
    half_range = float(np.max(b))
    goal = _Goal(
        head=head,
        tail=problem.d - head,
        order=order,
        b=half_range,
        t=float(np.max(t)),
        target=target,
        step=2 if basis == "taylor" else 1,
    )
    try:
        degrees = _degrees(goal, lambda degree, size: _true_error(degree, size, basis))
    except ValueError:
        return None
    if degrees is None or split_rank(goal.head, goal.tail, degrees) >= limit:
        return None
    polynomials = tuple(exp_polynomial(g, half_range, basis) for g in degrees)
    return Split(head=head, tail=goal.tail, polynomials=polynomials, heads=b, tails=t)


def part_bounds(
    problem: Problem, coordinates: Coordinates, head: int
) -> tuple[HostArray, HostArray]:
    """Return bounds on the scores of the head and of the tail, shapes (..., n_q), by Cauchy-Schwarz
    in each part.
    """
    rounded, bounds = 1 + 8 * problem.u, []  # of the coordinates
    for part in (slice(None, head), slice(head, None)):
        lengths = row_norms(coordinates.x[..., part], problem.xp)
        largest = visible_max(row_norms(coordinates.y[..., part], problem.xp), problem)
        bounds.append(up(lengths * largest[..., None] * rounded))
    return bounds[0], bounds[1]


def _true_error(degree: int, half_range: float, basis: str) -> float:
    try:
        polynomial = exp_polynomial(degree, half_range, basis)
    except TooLowDegreeError:
        return math.inf
    return float(polynomial.relative_error(np.asarray(half_range)))


def _part_sizes(problem: Problem, coordinates: Coordinates) -> tuple[HostArray, HostArray]:
    """Return about the largest |x_i'| |y_j'| and |x_i''| |y_j''| over all pairs for d' = 0 ... d -
    1, to plan with.
    """
    xp = problem.xp
    squares = [_arrays.cast(a, "float64", xp) ** 2 for a in (coordinates.x, coordinates.y)]
    heads, tails = [], []
    for square in squares:
        running = xp.cumulative_sum(square, axis=-1)
        heads.append(_arrays.to_host(xp.max(running - square, axis=-2)))
        tails.append(_arrays.to_host(xp.max(running[..., -1:] - (running - square), axis=-2)))
    sizes = [
        np.sqrt(np.maximum(a * b, 0.0)).reshape(-1, problem.d).max(axis=0)
        for a, b in (heads, tails)
    ]
    return sizes[0], sizes[1]


def _degrees(goal: _Goal, error: Error) -> tuple[int, ...] | None:
    """Return degrees g_0 >= ... >= g_H of small rank that meet the goal."""
    if not goal.t < 1 or goal.budget <= 0:  # such a tail belongs to the head
        return None
    terms, budget = goal.terms, goal.budget
    degrees = []
    for term in terms:
        g = 0
        while not term * error(g, goal.b) * (goal.order + 1) <= budget:
            g += goal.step
            if g > MOST_DEGREE:
                return None
        degrees.append(g)
    return _lowered([max(degrees[h:]) for h in range(goal.order + 1)], goal, error)


def _lowered(degrees: list[int], goal: _Goal, error: Error) -> tuple[int, ...]:
    """Lower falling degrees one by one, the largest saving first, while the goal is met."""
    terms, budget = goal.terms, goal.budget
    while True:
        lower = []
        for h, g in enumerate(degrees):
            fewer = [*degrees[:h], g - goal.step, *degrees[h + 1 :]]
            falling = g >= goal.step and all(a >= c for a, c in itertools.pairwise(fewer))
            if falling and budget >= sum(
                term * error(x, goal.b) for term, x in zip(terms, fewer, strict=True)
            ):
                lower.append(fewer)
        if not lower:
            return tuple(degrees)
        degrees = min(lower, key=lambda fewer: split_rank(goal.head, goal.tail, tuple(fewer)))


def rest_of_exp(t: HostArray | float, order: int) -> HostArray:
    """Return sum_{h > H} t^h/h! <= t^{H+1} e^t / (H+1)!, rounded up."""
    x = np.asarray(t, dtype=np.float64)
    with np.errstate(over="ignore"):
        return up(x ** (order + 1) * np.exp(x) / math.factorial(order + 1))
