"""Exact and honest small statistics: one-sided binomial bounds, equivalence of means, the
correction for many tests.

Only fixed-size plans are served; `proofs_check.arithmetic.eprocesses` has the tests that may be
looked at while they run. What is deliberately absent: two-sided intervals read one-sidedly, and the
chi-square test of a variance, whose level collapses on heavy tails.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from proofs_check.arithmetic.balls import ball, precision

__all__ = [
    "MeanTest",
    "binomial_bounds",
    "binomial_p_values",
    "block_means",
    "campaign_decisions",
    "holm",
    "mean_p_values",
]


def binomial_p_values(failures: int, n: int, delta: float) -> tuple[float, float]:
    """Exact p-values of the two one-sided tests about a failure probability p.

    Returns
    -------
    tuple of float
        (p-value against p > delta, so that a small one supports p <= delta; p-value against p <=
        delta, so that a small one refutes it).
    """
    _check_counts(failures, n)
    from scipy.stats import binom

    return float(binom.cdf(failures, n, delta)), float(binom.sf(failures - 1, n, delta))


# Clopper & Pearson (1934, wording unverified). Let T(p) be the probability, under p, of at most k
# events in n draws, k < n.
#
# 1. T falls strictly with p, from T(0) = 1 to T(1) = 0.
# 2. Let u be the p with T(u) = alpha. If p > u, at most k events come with probability below alpha,
#    by 1. So the statement "p <= u" is wrong with probability at most alpha.
# 3. Any p with T(p) <= alpha is at least u, by 1: a bound that is somewhat too large is a bound.
#
# The lower bound is 1 minus the upper one for the events that did not come, but 1 - x loses what
# is small: the two are found apart, each from a tail that ball arithmetic encloses (proved here).

_NUDGE = 2.0**-40
"""By how much, relatively, a bound may exceed the exact one. *Chosen*."""


def binomial_bounds(failures: int, n: int, alpha: float) -> tuple[float, float]:
    """One-sided Clopper-Pearson bounds, each at level alpha: p >= lower and p <= upper.

    Both are rounded outward, so they are bounds also for the smallest levels.

    Parameters
    ----------
    failures, n : int
        Events seen, and draws.
    alpha : float
        In (0, 1); down to 1e-300 and below.

    Raises
    ------
    ValueError
        When the counts or the level make no sense.
    """
    _check_counts(failures, n)
    if not 0 < alpha < 1:
        msg = f"alpha(={alpha}) must lie in (0, 1): it is the probability of being wrong"
        raise ValueError(msg)
    from scipy.stats import beta

    low, high = 0.0, 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # SciPy may give up: it is only a guess
        if failures > 0:
            guess = float(beta.ppf(alpha, failures, n - failures + 1))
            low = _edge(lambda p: _at_least(failures, n, p), alpha, guess, toward=0.0)
        if failures < n:
            guess = float(beta.isf(alpha, failures + 1, n - failures))
            high = _edge(lambda p: _at_most(failures, n, p), alpha, guess, toward=1.0)
    return low, high


def _at_most(k: int, n: int, p: float) -> Any:
    """Enclose the probability of at most k < n events, I_{1-p}(n - k, k + 1)."""
    return (1 - ball(p)).beta_lower(n - k, k + 1, True)


def _at_least(k: int, n: int, p: float) -> Any:
    """Enclose the probability of at least k > 0 events, I_p(k, n - k + 1)."""
    return ball(p).beta_lower(k, n - k + 1, True)


def _edge(tail: Callable[[float], Any], alpha: float, guess: float, *, toward: float) -> float:
    """The p farthest from `toward`, up to `_NUDGE`, whose tail is certainly at most alpha."""
    inside, outside = toward, 1.0 - toward
    near = (guess * (1 - _NUDGE / 4), guess * (1 + _NUDGE / 4))
    trials = [p for p in near if 0 < p < 1]  # none when the guess is NaN
    with precision(128):
        while abs(inside - outside) > _NUDGE * min(inside, outside):
            # Halving the number of floats in between, not the distance: p may be tiny.
            middle = trials.pop() if trials else _between(inside, outside)
            if middle in (inside, outside):
                break
            if bool(tail(middle) <= alpha):
                inside = middle
            else:
                outside = middle
    return inside


def _between(x: float, y: float) -> float:
    """The float halfway between two of [0, 1] in the order of all floats."""
    ranks = [int(np.float64(z).view(np.int64)) for z in (x, y)]
    return float(np.int64(sum(ranks) // 2).view(np.float64))


def _check_counts(failures: int, n: int) -> None:
    if not 0 <= failures <= n or n < 1:
        msg = f"failures(={failures}) must lie in [0, n], n(={n}) >= 1"
        raise ValueError(msg)


def block_means(values: np.ndarray, blocks: int) -> np.ndarray:
    """Means of consecutive blocks of equal size, the remainder left out; they are nearly normal
    when single values are not.

    Raises
    ------
    ValueError
        With fewer values than two per block, or a value that is not finite.
    """
    size = len(values) // blocks
    if size < 2:
        msg = f"values(n={len(values)}) are too few for blocks(={blocks}): at least two per block"
        raise ValueError(msg)
    if not np.all(np.isfinite(values)):
        msg = "values contain NaN or infinity: their mean says nothing"
        raise ValueError(msg)
    grouped = np.asarray(values[: size * blocks], dtype=np.float64).reshape(blocks, size)
    return np.asarray(np.mean(grouped, axis=1))


class MeanTest(NamedTuple):
    """p-values of the one-sided t-tests about a mean mu, and the estimate."""

    not_above: float
    """Small when mu <= high is supported (against mu > high)."""
    not_below: float
    """Small when mu >= low is supported (against mu < low)."""
    above: float
    """Small when mu > high is shown."""
    below: float
    """Small when mu < low is shown."""
    mean: float
    standard_error: float


def mean_p_values(means: np.ndarray, low: float, high: float) -> MeanTest:
    """Student's t-tests of block means against the two ends of [low, high].

    `max(not_above, not_below)` is the p-value of equivalence (two one-sided tests, Schuirmann 1987,
    wording unverified). Without any spread there is nothing to judge by, and every p-value is 1:
    the rare large value may just not have come.
    """
    from scipy.stats import t

    n, centre = len(means), float(np.mean(means))
    error = float(np.std(means, ddof=1)) / math.sqrt(n)

    def upper_tail(distance: float) -> float:  # P[T >= distance / error]
        return float(t.sf(distance / error, n - 1)) if error > 0 else 1.0

    return MeanTest(
        not_above=upper_tail(high - centre),
        not_below=upper_tail(centre - low),
        above=upper_tail(centre - high),
        below=upper_tail(low - centre),
        mean=centre,
        standard_error=error,
    )


# Many decisions. Experiment i can decide in the direction expected of it, which is fixed before a
# number is drawn, or in the other one. Let H_i be "the expected decision of i would be wrong", m of
# the N hypotheses H_i true. Holm (1979, wording unverified) compares the smallest p-value with a /
# N, the next one with a / (N - 1), and so on, and stops at the first that is too large. At the
# first true hypothesis that it rejects, say after j others, those j were false, so j <= N - m, and
# its p-value is at most a / (N - j) <= a / m. Some p-value of m true hypotheses is that small with
# probability at most m (a / m) = a, whatever their dependence. The other directions have at most N
# true hypotheses: each compared with a / N, they add at most a. With a = level / 2 the two together
# err with probability at most the level (proved here). A smaller p-value never takes a rejection
# away. So an experiment not carried out counts with p = 1, and what is decided in the middle of a
# campaign is decided at its end as well: looking early, stopping and resuming cost nothing.


def holm(p_values: Sequence[float], level: float) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects, in the order given.

    Raises
    ------
    ValueError
        When the level is not in (0, 1), or a p-value not in [0, 1].
    """
    _check_level(level, p_values)
    rejected = [False] * len(p_values)
    for j, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > level / (len(p_values) - j):
            break
        rejected[i] = True
    return rejected


def campaign_decisions(
    expected: Sequence[float], other: Sequence[float], level: float
) -> tuple[list[bool], list[bool]]:
    """Which decisions of a campaign count, so that one or more of them are wrong with probability
    at most `level`.

    Parameters
    ----------
    expected, other : sequence of float
        For every statistical experiment planned, the p-value behind the decision expected of it
        beforehand, and behind the opposite one; 1 where it was not carried out.
    level : float
        Half of it goes to the expected decisions, by Holm's procedure, half to the others, in equal
        parts.

    Returns
    -------
    tuple of list of bool
        Whether the expected decision counts, and whether the opposite one does.

    Raises
    ------
    ValueError
        When the two differ in length, the level is not in (0, 1), or a p-value not in [0, 1].
    """
    if len(expected) != len(other):
        msg = (
            f"expected({len(expected)} p-values) and other({len(other)}) must be of the same "
            "experiments"
        )
        raise ValueError(msg)
    _check_level(level, other)
    return holm(expected, level / 2), [p <= level / 2 / len(other) for p in other]


def _check_level(level: float, p_values: Sequence[float]) -> None:
    if not 0 < level < 1:
        msg = f"level(={level}) must lie in (0, 1)"
        raise ValueError(msg)
    strange = [p for p in p_values if not 0 <= p <= 1]  # NaN too: it would pass for a small one
    if strange:
        msg = f"p_values hold {strange[0]}: a p-value lies in [0, 1]; find out where it comes from"
        raise ValueError(msg)
