"""Rounding errors of the sums and scores that attention is made of.

Notation (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1): u is the unit
roundoff and gamma_k = k u / (1 - k u). A sum of k products, in any order and with or without fused
multiply-add, has error at most gamma_k sum |a_i b_i|. Every constant here counts operations
upwards: a bound may be too large by a small factor, never too small.
"""

from __future__ import annotations

import math

import numpy as np

from approxattn._arrays import HostArray

EXP_ULPS = 8
"""Relative error of one exp, in units of u: *chosen*, twice the largest error we know of in the
libraries' float32 kernels.
"""


U64 = 2.0**-53
"""Unit roundoff of float64, in which bounds are computed on the host."""


def gamma(k: float, u: float) -> float:
    """Return gamma_k = k u / (1 - k u), or inf when k u >= 1: the sum is too long for the dtype."""
    return k * u / (1 - k * u) if k * u < 1 else math.inf


def up(x: HostArray | float) -> HostArray:
    """Round a bound computed on the host in float64 outward: 64 units of its last place cover the
    few operations that made it.
    """
    return np.asarray(np.asarray(x, dtype=np.float64) * (1 + 64 * U64) + 2.0**-1060)


def blocked_sum_terms(n: int, block: int) -> int:
    """Return the k of gamma_k for a sum of n terms taken in blocks whose results are added one
    after the other.
    """
    return min(n, block) + -(-n // block)
