"""What a uniform draw of rows says about the others: which order statistic earns a quantile, and
the statement for parts of the rows.

Strata (proved here). Rows differ in how many keys they attend to, 1/|p|^2 of m visible ones.
STRATA splits them at fixed fractions of m.

1. Given how many of the drawn rows fall into a stratum, they are a uniform draw from its rows.
2. So the statement for f = (1 - confidence)^(1/s) holds for each stratum by itself, with its own s.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from approxattn._arrays import HostArray
from approxattn.bounds.rounding import up

STRATA = (1 / 32, 1 / 4)
"""Fractions of the visible keys at which rows are split into sharp, middling and flat ones.
*Chosen*, and fixed: the statement needs limits that do not look at the draw.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stratum:
    """The drawn rows that attend to a certain share of their keys.

    Attributes
    ----------
    low, high : float
        Share ``1/|p|^2 / m`` of the visible keys: above `low`, up to `high`.
    rows : int
        Drawn rows in it.
    median, largest : float
        Of their errors; 0 if there are none.
    exceeding : float
        With the audit's confidence, at most this fraction of the stratum's rows errs by more than
        `largest`; 1 if none was drawn.
    """

    low: float
    high: float
    rows: int
    median: float
    largest: float
    exceeding: float


def split(
    errors: HostArray, concentration: HostArray, confidence: float, *, complete: bool
) -> tuple[Stratum, ...]:
    """Return the strata of drawn rows with these errors and shares of keys; `complete`: all rows
    were drawn.
    """
    found = []
    for low, high in itertools.pairwise((0.0, *STRATA, math.inf)):
        own = errors[(concentration > low) & (concentration <= high)]
        exceeding = float(up(-math.expm1(math.log1p(-confidence) / own.size))) if own.size else 1.0
        found.append(
            Stratum(
                low=low,
                high=min(high, 1.0),
                rows=own.size,
                median=float(np.median(own)) if own.size else 0.0,
                largest=float(np.max(own, initial=0.0)),
                exceeding=0.0 if complete else exceeding,
            )
        )
    return tuple(found)


def order_for(rows: int, drawn: int, fraction: float, confidence: float) -> int:
    """Return the smallest r with P(H >= r) <= 1 - confidence, H hypergeometric: `drawn` draws from
    `rows`, of which ceil(fraction * rows) - 1 are marked.
    """
    marked = math.ceil(_decimal(fraction) * rows) - 1
    if marked < 0:
        return 0  # no rows: nothing errs
    allowed = (1 - _decimal(confidence)) * math.comb(rows, drawn)
    j, tail = min(drawn, marked), 0
    ways = math.comb(marked, j) * math.comb(rows - marked, drawn - j)
    while j >= 0:
        tail += ways
        if tail > allowed:
            break
        ways = ways * j * (rows - marked - drawn + j) // ((marked - j + 1) * (drawn - j + 1))
        j -= 1
    return j + 1


def _decimal(x: float) -> Fraction:
    """Return the number as it is written, so that 0.9 of 30 rows are 27, not 28."""
    return Fraction(str(float(x)))
