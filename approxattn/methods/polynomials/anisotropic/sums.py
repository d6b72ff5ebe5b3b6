"""Rank that follows the data: exp(s) for scores whose size sits in a few directions.

Symbols. In balanced coordinates (`coordinates`) scores are s = x . y, and the moments of x and y
are equal and diagonal, falling from coordinate to coordinate. s' is the part of the first d'
coordinates (the head), s'' that of the others (the tail). |s'| <= b_i and |s''| <= t_i for row i.
The kernel is K = sum_{h <= H} P_h(s') s''^h / h!, and |P_h(s') e^{-s'} - 1| <= eps_h on the
interval of s'.

Error (proved here).

1. e^s = e^{s'} e^{s''}, and e^{s''} = sum_h s''^h / h!.
2. |K - e^s| <= e^{s'} (sum_{h <= H} eps_h t^h / h! + sum_{h > H} t^h / h!).
3. e^s >= e^{s'} e^{-t}.
4. By 2 and 3 K is within eps = e^t (...) of e^s in ratio. Where eps < 1, K is positive, ln rho <= 2
   artanh(eps), and T1 applies.

What is left out of the full set of monomials counts in the relative error directly. An additive
remainder of P(s) would cost the factor e^{2B}; so the exponential is split first and approximated
then, and the coefficients differ from those of the full set. H = 0 leaves the tail out altogether.

Rounding is that of `forward`, with the counts of `monomials.split`. The error of a score in the
coordinates (`coordinates`) adds twice itself to ln rho, and rounding coordinates to the dtype
counts once for each factor. Which split is taken: `split_choice`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem, refuse_overflow
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import value_spread
from approxattn.methods.polynomials.anisotropic.coordinates import Coordinates
from approxattn.methods.polynomials.anisotropic.split_choice import Split, rest_of_exp
from approxattn.methods.polynomials.balance import Balance
from approxattn.methods.polynomials.centring import CentredScores
from approxattn.methods.polynomials.forward import largest_entries, values_and_one
from approxattn.methods.polynomials.row_rounding import RowRounding, row_rounding, weight_noise
from approxattn.monomials.split import SplitKernel


@dataclass(frozen=True, kw_only=True)
class SplitForward:
    """Output of a split kernel, and what its certificate and its gradient need; `values`,
    `largest` and `denominator` as in `forward`, bounds of shape (..., n_q).
    """

    problem: Problem
    scores: CentredScores
    coordinates: Coordinates
    split: Split
    kernel: SplitKernel
    largest: tuple[float, float]
    values: Array
    denominator: Array
    value: Array
    log_ratio: HostArray
    row_rounding: RowRounding

    @functools.cached_property
    def rounding(self) -> HostArray:
        """Bound on the rounding error of each output row."""
        return self.row_rounding.rows(value_spread(self.problem).top)

    @functools.cached_property
    def balance(self) -> Balance:
        """How beta is shared among centred queries and keys."""
        return self.scores.balanced.balance

    @property
    def tv(self) -> HostArray:
        """Bound on the total variation between the rows of weights, by T1."""
        return tv_from_log_ratio(self.log_ratio)

    @functools.cached_property
    def host_denominator(self) -> HostArray:
        """The denominators in float64 on the host."""
        return _arrays.to_host(self.denominator[..., 0]).astype(np.float64)

    @property
    def lost(self) -> HostArray:
        """Which denominators are lost to rounding."""
        return ~(self.host_denominator > 0)


def split_log_ratio(split: Split) -> HostArray:
    """Return ln rho_i, shape (..., n_q); inf where K may not be positive."""
    total = rest_of_exp(split.tails, len(split.polynomials) - 1)
    with np.errstate(over="ignore", invalid="ignore"):
        for h, p in enumerate(split.polynomials):
            total = total + up(p.relative_error(split.heads) * split.tails**h / math.factorial(h))
        epsilon = up(np.exp(split.tails) * total)
    return np.where(epsilon < 1, up(2 * np.arctanh(np.minimum(epsilon, 1 - 2.0**-52))), np.inf)


def split_kernel(problem: Problem, split: Split, kind: str) -> SplitKernel:
    """Return the kernel K, evaluated by "features" or by "scores"."""
    return SplitKernel(
        table=split.table,
        head=split.head,
        tail=split.tail,
        causal=problem.causal,
        kind=kind,
        xp=problem.xp,
    )


def largest_sum(problem: Problem, coordinates: Coordinates, kernel: SplitKernel) -> float:
    """Return what the sums of a kernel may reach."""
    largest = largest_entries(coordinates.x, coordinates.y, problem)
    top = max(1.0, float(np.max(value_spread(problem).top)))
    with np.errstate(over="ignore"):
        return kernel.partial_sum(*largest) * problem.n_k * top


def split_forward(
    problem: Problem,
    scores: CentredScores,
    coordinates: Coordinates,
    split: Split,
    kernel: SplitKernel,
) -> SplitForward:
    """Run the sums with a split kernel.

    Raises
    ------
    ValueError
        Where they could overflow the dtype.
    """
    refuse_overflow(
        f"a sum over {kernel.rank} features",
        largest_sum(problem, coordinates, kernel),
        problem.dtype,
    )
    xp = problem.xp
    values = values_and_one(problem)
    values = values if scores.weights is None else values * scores.weights
    sums = kernel.sums(coordinates.x, coordinates.y, values)
    denominator = xp.where(sums[..., -1:] > 0, sums[..., -1:], xp.full_like(sums[..., -1:], xp.nan))
    largest = largest_entries(coordinates.x, coordinates.y, problem)
    return SplitForward(
        problem=problem,
        scores=scores,
        coordinates=coordinates,
        split=split,
        kernel=kernel,
        largest=largest,
        values=values,
        denominator=denominator,
        value=sums[..., :-1] / denominator,
        log_ratio=up(split_log_ratio(split) + 2 * coordinates.score_error + scores.log_error),
        row_rounding=_rounding(problem, scores, split, kernel, largest, denominator),
    )


def _rounding(
    problem: Problem,
    scores: CentredScores,
    split: Split,
    kernel: SplitKernel,
    largest: tuple[float, float],
    denominator: Array,
) -> RowRounding:
    host = _arrays.to_host(denominator[..., 0]).astype(np.float64)
    degree, tiny = split.degrees[0] + len(split.degrees) - 1, _arrays.smallest_normal(problem.dtype)
    absolute = kernel.absolute(split.heads, split.tails)
    lost = kernel.underflow(split.heads, split.tails, *largest, tiny) + tiny * absolute
    roundings = kernel.roundings(problem.n_k) + 4 * degree + 2 + min(problem.earlier, 1)
    error = gamma(roundings, problem.u) * absolute * scores.total
    visible = problem.visible_keys
    noise = weight_noise(host, error, lost * visible)
    return row_rounding(host, visible, noise, lost, problem.dtype)
