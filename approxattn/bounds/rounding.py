"""Rounding errors of the sums and scores that attention is made of.

Notation (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1): u is the unit
roundoff and gamma_k = k u / (1 - k u). A sum of k products, in any order and with or without fused
multiply-add, has error at most gamma_k sum |a_i b_i|. Every constant here counts operations
upwards: a bound may be too large by a small factor, never too small.
"""

from __future__ import annotations

import math

import numpy as np

from approxattn._arrays import Array, HostArray
from approxattn._arrays.precision import Roundoff

EXP_ULPS = 8
"""Relative error of one exp, in units of u: *chosen*, twice the largest error we know of in the
libraries' float32 kernels.
"""


TANH_ULPS = 16
"""The same for tanh, whose float32 kernels are less exact."""


U64 = 2.0**-53
"""Unit roundoff of float64, in which bounds are computed on the host."""


def gamma(k: float, u: float, products: float | None = None) -> float:
    """Return gamma_k = k u / (1 - k u), or inf when k u >= 1: the sum is too long for the dtype.

    Where a library rounds the factors of its products first, u is a `Roundoff` and every chain of k
    roundings may hold k products, unless the caller has counted them.
    """
    if isinstance(u, Roundoff):
        return u.chain(k, products)
    return k * u / (1 - k * u) if k * u < 1 else math.inf


def up(x: HostArray | float) -> HostArray:
    """Round a bound computed on the host in float64 outward: 64 units of its last place cover the
    few operations that made it.
    """
    found = np.asarray(np.multiply(x, 1 + 64 * U64, dtype=np.float64))
    found += 2.0**-1060
    return found


def outward(x: Array) -> Array:
    """Return `up` of numbers at hand (`_arrays.crossing`)."""
    return up(x) if isinstance(x, np.ndarray) else x * (1 + 64 * U64) + 2.0**-1060


def blocked_sum_terms(n: int, block: int) -> int:
    """Return the k of gamma_k for a sum of n terms taken in blocks whose results are added one
    after the other.
    """
    return min(n, block) + -(-n // block)


def times(*factors: HostArray | float) -> HostArray:
    """Return a product in which 0 times anything is 0: what has no effect has none however large
    it is.

    Exponents are added up first where some order of the factors underflows or overflows, though
    the product does not.
    """
    none, mantissa, exponent = np.asarray(False), np.asarray(1.0), np.asarray(0)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        if len(factors) == 2:  # there is no order to choose
            a, b = (np.asarray(factor, dtype=np.float64) for factor in factors)
            product = np.asarray(a * b)
            if not np.isnan(np.sum(product)):
                return product
            return np.where((a == 0) | (b == 0), 0.0, product)
        plain = _normal_product(factors)
        if plain is not None:
            return plain
        for factor in factors:
            fraction, power = np.frexp(np.asarray(factor, dtype=np.float64))
            none = none | (fraction == 0)
            mantissa, exponent = mantissa * fraction, exponent + power
        return np.where(none, 0.0, np.ldexp(mantissa, exponent))


def _normal_product(factors: tuple[HostArray | float, ...]) -> HostArray | None:
    """Return the product of factors >= 0, None where a product on the way is not a normal number:
    with those, the order of the factors does not matter.
    """
    found = np.asarray(1.0)
    for factor in factors:
        found = np.asarray(found * factor)
        least, most = np.min(found, initial=1.0), np.max(found, initial=1.0)
        if not (least > 2.0**-1000 and most < 2.0**1000):
            return None
    return found


def whole_power(x: HostArray, t: int) -> HostArray:
    """Return x^t by squaring: NumPy's power takes many times as long as a product."""
    found: HostArray | None = None
    square = x
    while t:
        if t % 2:
            found = square if found is None else found * square
        t, square = t // 2, square * square if t > 1 else square
    return np.ones_like(x) if found is None else found
