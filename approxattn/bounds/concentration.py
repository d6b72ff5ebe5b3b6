"""How far a mean over hashes can be from its expectation.

Symbols. One hash gives a row the entry X_h = sum_j B_ij v_jc with B_ij in {0, 1}. Whatever the
dependence of the B_ij, X_h lies in an interval of length W_c = sum_j |v_jc|. There are m hashes,
independent of each other, N entries, and a probability delta of failure.

1. Hoeffding (1963), with a union bound over both sides of N entries: t = W_c sqrt(ln(2 N / delta) /
   (2 m)).
2. Hashes may come in independent blocks of m_1, m_2, ... dependent ones (Hadamard). The mean of
   block b counts m_b / m, and 1/m in step 1 becomes sum_b (m_b / m)^2.
3. Bernstein, with s^2 the variance of X_h where that can be computed: t solves L = m t^2 / (2 s^2 +
   (2/3) W t), L = ln(2 N / delta).
4. Empirical Bernstein (Maurer & Pontil 2009, theorem 4; wording unverified), s^2 the sample
   variance, one side, range 1: t = sqrt(2 s^2 ln(2/delta) / m) + 7 ln(2/delta) / (3 (m - 1)).
   For both sides of N entries ln(2/delta) becomes ln(4 N / delta).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from approxattn._arrays import HostArray
from approxattn.bounds.rounding import up


def hoeffding(blocks: Sequence[int], entries: int, delta: float) -> float:
    """Return t / W for the mean of hashes in independent blocks of these sizes, all `entries` at
    once: at most 1, which is sure.
    """
    hashes = sum(blocks)
    concentration = sum((size / hashes) ** 2 for size in blocks)
    return min(1.0, float(up(math.sqrt(math.log(2 * entries / delta) / 2 * concentration))))


def bernstein(
    variance: HostArray, width: HostArray, hashes: int, entries: int, delta: float
) -> HostArray:
    """Return t for entries whose variance under one hash is at most `variance`, shape (...), and
    whose range is at most `width`.
    """
    log = math.log(2 * entries / delta)
    linear = width * (log / (3 * hashes))
    return up(np.minimum(linear + np.sqrt(linear**2 + 2 * variance * (log / hashes)), width))


def empirical_bernstein(
    variance: HostArray, width: HostArray, hashes: int, entries: int, delta: float
) -> HostArray:
    """Return t for entries whose sample variance over the hashes (divisor m - 1) is `variance`;
    `width` itself for a single hash.
    """
    if hashes < 2:
        return up(width)
    log = math.log(4 * entries / delta)
    return up(
        np.minimum(
            np.sqrt(2 * variance * (log / hashes)) + width * (7 * log / (3 * (hashes - 1))), width
        )
    )


def hashes_needed(relative: float, entries: int, delta: float) -> int:
    """Return the least m for which Hoeffding's t is at most `relative` times the width: (1/2) ln(2
    N / delta) / relative^2.
    """
    return max(1, math.ceil(float(up(math.log(2 * entries / delta) / (2 * relative**2)))))
