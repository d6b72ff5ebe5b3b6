"""Rank that follows the data: exp(s) for scores whose size sits in a few directions.

In balanced coordinates (`coordinates`) scores are s = x . y with the moments of x and y equal and
diagonal, falling from coordinate to coordinate. Let s' be the part of the first d' coordinates (the
head), s'' that of the others (the tail), |s'| <= b_i, |s''| <= t_i by Cauchy-Schwarz in each part,
and

    K = sum_{h <= H} P_h(s') s''^h / h!,    |P_h(s') e^{-s'} - 1| <= eps_h    on the interval of s'.

Error (proved here). e^s = e^{s'} e^{s''}, so

    |K - e^s| <= e^{s'} ( sum_{h <= H} eps_h t^h / h! + sum_{h > H} t^h / h! ),      e^s >= e^{s'}
        e^{-t},

and K is within eps = e^t ( ... ) of e^s in ratio: positive where eps < 1, ln rho <= 2 artanh(eps),
and T1 applies. What is left out of the full set of monomials counts in the relative error directly,
without the factor e^{2B} that an additive remainder of P(s) would cost; that is why the exponential
is split first and then approximated, and why the coefficients of the set differ from those of the
full one. H = 0 leaves the tail out altogether.

Which set: for every d' and H <= 3 the degrees g_0 >= ... >= g_H of least rank that an estimate of
eps_h, b^{g+1} / (2^g (g+1)!) (*chosen*: the leading term of the Chebyshev series), lets meet the
tolerance; then, for the best of all, degrees that the true eps_h let meet it, lowered one by one,
the largest saving first.

Rounding. As in `forward`, with the counts of `monomials.split`; the error of a score in the
coordinates (`coordinates`) adds twice itself to ln rho, and rounding coordinates to the dtype
counts once for each factor.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import row_norms, value_spread, visible_max
from approxattn.exponential import ExpPolynomial, exp_polynomial
from approxattn.exponential.chebyshev import TooLowDegreeError
from approxattn.exponential.degree import expected_error
from approxattn.methods.polynomials.centring import CentredScores
from approxattn.methods.polynomials.coordinates import Coordinates
from approxattn.methods.polynomials.forward import output_rounding, values_and_one, weight_noise
from approxattn.monomials.split import SplitKernel, split_rank

MOST_DEGREE = 40
"""*Chosen*: more never pays."""

MOST_TAIL_DEGREE = 3
"""*Chosen*: a tail that needs more belongs to the head."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """A head of d' coordinates, a tail of d'', the polynomials P_0 ...

    P_H, and b_i, t_i, shapes (..., n_q).
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
class SplitForward:
    """Output of a split kernel, and what its certificate and its gradient need; `values` and
    `denominator` as in `forward`, bounds of shape (..., n_q).
    """

    problem: Problem
    scores: CentredScores
    found: Coordinates
    split: Split
    kernel: SplitKernel
    values: Array
    denominator: Array
    value: Array
    log_ratio: HostArray
    rounding: HostArray

    @property
    def tv(self) -> HostArray:
        """Bound on the total variation between the rows of weights, by T1."""
        return tv_from_log_ratio(self.log_ratio)

    @property
    def lost(self) -> HostArray:
        """Which denominators are lost to rounding."""
        return ~(_arrays.to_host(self.denominator[..., 0]) > 0)


def choose_split(
    problem: Problem, found: Coordinates, tolerance: float, basis: str, limit: int
) -> Split | None:
    """Return the split of least rank that keeps the tolerance; None if there is none of a rank
    below `limit`.
    """
    target = math.tanh(2 * math.atanh(tolerance)) * (1 - 1e-6)
    heads, tails = (np.append(sizes, 0.0) for sizes in _part_sizes(problem, found))
    best, least = None, limit
    for head in range(1, problem.d):
        for order in range(MOST_TAIL_DEGREE + 1):
            degrees = _degrees(
                expected_error,
                float(heads[head]),
                float(tails[head]),
                order,
                target,
                (problem.d, head, 1),
            )
            cost = limit if degrees is None else split_rank(head, problem.d - head, degrees)
            best, least = ((head, order), cost) if cost < least else (best, least)
    if best is None:
        return None
    head, order = best
    parts = [(found.x[..., :head], found.y[..., :head]), (found.x[..., head:], found.y[..., head:])]
    rounded = 1 + 8 * problem.u  # of the coordinates
    b, t = (
        up(
            row_norms(x, problem.xp)
            * visible_max(row_norms(y, problem.xp), problem)[..., None]
            * rounded
        )
        for x, y in parts
    )
    reach = float(np.max(b))

    def error(degree: int, half_range: float) -> float:
        try:
            return float(
                exp_polynomial(degree, half_range, basis).relative_error(np.asarray(half_range))
            )
        except TooLowDegreeError:
            return math.inf

    step = 2 if basis == "taylor" else 1
    try:
        true = _degrees(error, reach, float(np.max(t)), order, target, (problem.d, head, step))
    except ValueError:  # float64 coefficients cannot hold a polynomial tried
        return None
    if true is None or split_rank(head, problem.d - head, true) >= limit:
        return None
    return Split(
        head=head,
        tail=problem.d - head,
        polynomials=tuple(exp_polynomial(g, reach, basis) for g in true),
        heads=b,
        tails=t,
    )


def _part_sizes(problem: Problem, found: Coordinates) -> tuple[HostArray, HostArray]:
    """Return about the largest |x_i'| |y_j'| and |x_i''| |y_j''| over all pairs for d' = 0 ... d -
    1, to plan with.
    """
    xp = problem.xp
    squares = [_arrays.cast(a, "float64", xp) ** 2 for a in (found.x, found.y)]
    heads, tails = [], []
    for square in squares:
        running = xp.cumulative_sum(square, axis=-1)
        heads.append(_arrays.to_host(xp.max(running - square, axis=-2)))
        tails.append(_arrays.to_host(xp.max(running[..., -1:] - (running - square), axis=-2)))
    sizes = (
        np.sqrt(np.maximum(a * b, 0.0)).reshape(-1, problem.d).max(axis=0)
        for a, b in (heads, tails)
    )
    first, second = sizes
    return first, second


def _degrees(
    error: Callable[[int, float], float],
    b: float,
    t: float,
    order: int,
    target: float,
    shape: tuple[int, int, int],
) -> tuple[int, ...] | None:
    """Return degrees g_0 >= ... >= g_H of small rank with e^t (sum eps_h t^h/h! + rest) <= target;
    shape is d, d' and the step of the degrees.
    """
    d, head, step = shape
    terms = [t**h / math.factorial(h) for h in range(order + 1)]
    budget = target * math.exp(-t) - _rest(t, order) if t < 1 else 0.0
    if budget <= 0:
        return None
    degrees = []
    for term in terms:
        g = 0
        while not term * error(g, b) * (order + 1) <= budget * (1 - 1e-9):
            g += step
            if g > MOST_DEGREE:
                return None
        degrees.append(g)
    degrees = [max(degrees[h:]) for h in range(order + 1)]
    while True:
        lower = []
        for h, g in enumerate(degrees):
            fewer = [*degrees[:h], g - step, *degrees[h + 1 :]]
            falling = g >= step and all(a >= c for a, c in itertools.pairwise(fewer))
            if falling and sum(
                term * error(x, b) for term, x in zip(terms, fewer, strict=True)
            ) <= budget * (1 - 1e-9):
                lower.append(fewer)
        if not lower:
            return tuple(degrees)
        degrees = min(lower, key=lambda fewer: split_rank(head, d - head, tuple(fewer)))


def _rest(t: HostArray | float, order: int) -> HostArray:
    """Return sum_{h > H} t^h/h! <= t^{H+1} e^t / (H+1)!, rounded up."""
    x = np.asarray(t, dtype=np.float64)
    with np.errstate(over="ignore"):
        return up(x ** (order + 1) * np.exp(x) / math.factorial(order + 1))


def split_log_ratio(split: Split) -> HostArray:
    """Return ln rho_i, shape (..., n_q); inf where K may not be positive."""
    total = _rest(split.tails, len(split.polynomials) - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        for h, p in enumerate(split.polynomials):
            total = total + up(p.relative_error(split.heads) * split.tails**h / math.factorial(h))
        epsilon = up(np.exp(split.tails) * total)
    return np.where(epsilon < 1, up(2 * np.arctanh(np.minimum(epsilon, 1 - 2.0**-52))), np.inf)


def split_forward(
    problem: Problem, scores: CentredScores, found: Coordinates, split: Split, kind: str
) -> SplitForward | None:
    """Run the sums with a split kernel; None where they could overflow the dtype."""
    xp = problem.xp
    kernel = SplitKernel(
        table=split.table, head=split.head, tail=split.tail, causal=problem.causal, kind=kind, xp=xp
    )
    reach = [float(xp.max(xp.abs(a))) for a in (found.x, found.y)]
    top = value_spread(problem).top[..., None]
    size = kernel.partial_sum(reach[0], reach[1]) * problem.n_k * max(1.0, float(np.max(top)))
    if not size < _arrays.largest(problem.dtype) / 16:
        return None
    values = values_and_one(problem)
    values = values if scores.weights is None else values * scores.weights
    sums = kernel.sums(found.x, found.y, values)
    denominator = xp.where(sums[..., -1:] > 0, sums[..., -1:], xp.full_like(sums[..., -1:], xp.nan))
    host = _arrays.to_host(denominator[..., 0]).astype(np.float64)
    degree, tiny = split.degrees[0] + len(split.degrees) - 1, _arrays.smallest_normal(problem.dtype)
    absolute = kernel.absolute(split.heads, split.tails)
    lost = kernel.underflow(split.heads, split.tails, reach[0], reach[1], tiny) + tiny * absolute
    error = (
        gamma(kernel.roundings(problem.n_k) + 4 * degree + 2, problem.u) * absolute * scores.total
    )
    visible = problem.visible_keys
    noise = weight_noise(host, np.ones(1), error, lost * visible)
    return SplitForward(
        problem=problem,
        scores=scores,
        found=found,
        split=split,
        kernel=kernel,
        values=values,
        denominator=denominator,
        value=sums[..., :-1] / denominator,
        log_ratio=up(split_log_ratio(split) + 2 * found.score_error + scores.log_error),
        rounding=output_rounding(host, visible, noise, lost, top, problem.dtype),
    )
