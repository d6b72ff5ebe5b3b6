"""Tests that may be looked at while they run: e-processes for a probability and for the mean of
bounded draws.

An e-process of a hypothesis is a sequence E_1, E_2, ... of numbers >= 0, each computed from the
draws so far, that stays below a martingale which starts at 1 when the hypothesis is true. By
Ville's inequality (1939, wording unverified) it then ever reaches 1/alpha with probability at most
alpha. So one may look after every batch, stop when it is large, and go on when it is not: 1 / max E
is a p-value at any time, for whatever reason one stopped. A p-value of a fixed-size test has no
such right: looked at often enough it becomes small for a true hypothesis as well.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

__all__ = ["MeanBets", "log_evidence_below", "p_value"]


def p_value(largest_log_e: float) -> float:
    """Of the largest value that the logarithm of an e-process took so far; never 0,
    however small.
    """
    return max(math.exp(-max(largest_log_e, 0.0)), sys.float_info.min)


# A probability. Let the hypothesis be p >= d, and q < d. One draw multiplies the likelihood ratio
# by q/d (an event, probability p) or (1-q)/(1-d); the mean of the factor, p q/d + (1-p)
# (1-q)/(1-d), falls with p and is 1 at p = d. So the ratio is a supermartingale for every p >= d,
# and so is its mean over any distribution of q on (0, d) (Robbins 1970, wording unverified). With
# the density q^(-1/2) (1-q)^(-1/2) cut at d, k events in n draws give
#     E = B_d(k + 1/2, n - k + 1/2) / (B_d(1/2, 1/2) d^k (1-d)^(n-k)),  B_d(a, b) = int_0^d q^(a-1)
#     (1-q)^(b-1) dq.
# That it is a supermartingale is proved here; the density is chosen (Jeffreys': no q is favoured on
# the scale on which p can be told apart).


def log_evidence_below(events: Any, draws: Any, delta: float) -> Any:
    """Logarithm of an e-process of the hypothesis p >= delta: large when p < delta.

    Parameters
    ----------
    events, draws : int or array
        Numbers so far, 0 <= events <= draws.
    delta : float
        In (0, 1). Evidence for p > delta is `log_evidence_below` of the complementary events at 1 -
        delta.

    Raises
    ------
    ValueError
        When delta is not in (0, 1).
    """
    if not 0 < delta < 1:
        msg = f"delta(={delta}) must lie in (0, 1)"
        raise ValueError(msg)
    from scipy.special import betainc, betaln

    k, n = np.asarray(events, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    # far on the other side the integral vanishes: no evidence at all
    with np.errstate(divide="ignore"):
        mixture = betaln(k + 0.5, n - k + 0.5) + np.log(betainc(k + 0.5, n - k + 0.5, delta))
    prior = betaln(0.5, 0.5) + math.log(betainc(0.5, 0.5, delta))
    return mixture - prior - k * math.log(delta) - (n - k) * math.log1p(-delta)


# A mean. Let draws lie in [0, 1] and the hypothesis be mean <= t, 0 < t < 1. For a fixed bet b in
# [0, 1/t) the factor 1 + b (X - t) is positive, and its mean, 1 + b (mean - t), at most 1: the
# product over the draws is a supermartingale, and so is the mean of such products over several bets
# (proved here; betting as a test: Waudby-Smith & Ramdas 2024, wording unverified). The best bet is
# about (mean - t) / variance, which nobody knows: the bets 2^-1/t ... 2^-12/t have one within a
# factor sqrt(2) of it, and twelve of them cost log 12 of the logarithm (chosen). Only the
# conditional mean matters, so the draws need not be independent. For mean >= t replace X by 1 - X
# and t by 1 - t.

_BETS = 0.5 ** np.arange(1.0, 13.0)


class MeanBets:
    """Capital won by betting against a hypothesis about the mean of draws from [low, high].

    Parameters
    ----------
    bound : float
        Of the hypothesis, strictly between low and high.
    low, high : float
        Interval that no draw leaves.
    above : bool
        The hypothesis is mean <= bound, and evidence is for a mean above it; otherwise mean >=
        bound.

    Raises
    ------
    ValueError
        When the bound is not strictly inside.
    """

    def __init__(self, bound: float, *, low: float, high: float, above: bool) -> None:
        if not low < bound < high:
            msg = f"bound(={bound}) must lie strictly between low(={low}) and high(={high})"
            raise ValueError(msg)
        self._low, self._high, self._above = low, high, above
        self._t = (bound - low) / (high - low) if above else (high - bound) / (high - low)
        self._logs = np.zeros(len(_BETS))

    def update(self, values: np.ndarray[Any, Any]) -> None:
        """Take more draws into account; ValueError when one lies outside of [low, high]."""
        if not np.all((values >= self._low) & (values <= self._high)):
            msg = (
                f"values leave [low, high](=[{self._low}, {self._high}]) or are NaN: the bets are "
                "void"
            )
            raise ValueError(msg)
        distance = values - self._low if self._above else self._high - values
        gains = distance / (self._high - self._low) - self._t
        self._logs = self._logs + np.array(
            [np.sum(np.log1p(bet / self._t * gains)) for bet in _BETS]
        )

    @property
    def log_e(self) -> float:
        """Logarithm of the mean capital, which was 1 at the start."""
        top = float(np.max(self._logs))
        return top + math.log(float(np.mean(np.exp(self._logs - top))))
