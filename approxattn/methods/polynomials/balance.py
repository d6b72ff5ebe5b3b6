"""Tokens made equally large by powers of two, before anything rounds.

Symbols. beta = m 2^e is the factor of the scores, 1/2 <= m < 1. q and k are the queries and keys
that the scores beta q_i . k_j are made of; w is the smallest normal number of their dtype.

1. For whole numbers a, c with a + c = e, the tokens x = m 2^a q and y = 2^c k have the products
   x_i . y_j = beta q_i . k_j.
2. a and c are chosen for each leading index so that the largest entries of x and y are about equal.
   So no monomial overflows before its partner shrinks it.
3. Powers of two come first: 2^a q is exact unless it underflows, and an entry that underflows loses
   at most w of an x that is as large as y. (beta q first would lose w of an entry that the power
   might enlarge by 2^100 afterwards.)
4. The way back: by 1, dL/dq = 2^{a-1} (2 m dL/dx) and dL/dk = 2^c dL/dy. The power comes last, and
   2 m >= 1 makes nothing smaller: what underflows is lost in the result only.
5. beta by itself may be no normal number of the dtype either; only m is multiplied in.
6. 2^a itself may be no number of the dtype. It is applied in steps of equal sign, so that no step
   leaves the range between the first number and the last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace

LARGEST_STEP = {"float32": 120, "float64": 1000}
"""Exponents of one step. *Chosen*: both ends are normal numbers."""

LARGEST_POWER = 1000
"""Of c, so that 2^c is a normal float64. *Chosen*: it is never reached but by tokens that are 0 up
to 1e-300 of their partners.
"""


@dataclass(frozen=True, kw_only=True)
class Balance:
    """How beta is shared among queries and keys; see the module.

    Attributes
    ----------
    mantissa : float
        m.
    of_queries, of_keys : ndarray of int, shape (...)
        a and c.
    """

    mantissa: float
    of_queries: HostArray
    of_keys: HostArray
    xp: Namespace

    def queries(self, q: Array) -> Array:
        """Return m 2^a q, shape (..., n_q, d)."""
        return times_power(q, self.of_queries, self.xp) * self.mantissa

    def keys(self, k: Array) -> Array:
        """Return 2^c k, shape (..., n_k, d)."""
        return times_power(k, self.of_keys, self.xp)

    def query_gradient(self, dx: Array) -> Array:
        """Return dL/dq from dL/dx."""
        return times_power(dx * (2 * self.mantissa), self.of_queries - 1, self.xp)

    def key_gradient(self, dy: Array) -> Array:
        """Return dL/dk from dL/dy."""
        return times_power(dy, self.of_keys, self.xp)

    @property
    def ratio(self) -> HostArray:
        """2^-c, shape (..., 1): queries are beta 2^-c q, keys k / 2^-c."""
        return np.exp2(-self.of_keys.astype(np.float64))[..., None]


@dataclass(frozen=True, kw_only=True)
class Balanced:
    """Tokens made equally large, and how.

    Attributes
    ----------
    balance : Balance
        How `queries` and `keys` were made.
    queries, keys : array, shapes (..., n_q, d), (..., n_k, d)
        Their dot products are the scores.
    largest : tuple of float
        Largest absolute entries of `queries` and `keys`.
    """

    balance: Balance
    queries: Array
    keys: Array
    largest: tuple[float, float]


def balanced(
    queries: Array,
    keys: Array,
    scale: float,
    xp: Namespace,
    tops: tuple[Array, Array] | None = None,
) -> Balanced:
    """Return queries and keys made equally large, shapes as given; `tops` are the largest entries
    of each item, shape (...), where they are known already.

    Rounding keeps the order of numbers: the largest entry becomes the largest one.
    """
    q, k = tops or (_arrays.largest_size(x, xp) for x in (queries, keys))
    q, k = q[..., None, None], k[..., None, None]
    balance = balance_of(q, k, scale, xp)
    own = balance if tops is None else replace(balance, xp=_arrays.namespace(tops=q))
    top_q, top_k = (float(own.xp.max(x)) for x in (own.queries(q), own.keys(k)))
    return Balanced(
        balance=balance,
        queries=balance.queries(queries),
        keys=balance.keys(keys),
        largest=(top_q, top_k),
    )


def balance_of(top_queries: Array, top_keys: Array, scale: float, xp: Namespace) -> Balance:
    """Return the powers that make queries and keys of an item equally large, given their largest
    entries, shapes (..., 1, 1); where one of them is 0, the other is made as large as 1.
    """
    mantissa, exponent = math.frexp(scale)
    with np.errstate(divide="ignore"):
        top_q, top_k = (
            np.log2(_arrays.to_float64(top)[..., 0, 0]) for top in (top_queries, top_keys)
        )
    some_q, some_k = np.isfinite(top_q), np.isfinite(top_k)
    size_q, size_k = (np.where(s, top, 0.0) for s, top in ((some_q, top_q), (some_k, top_k)))
    both = -np.floor((size_k - size_q - math.log2(scale)) / 2 + 0.5)
    alone = np.where(some_k, -size_k, np.where(some_q, exponent + size_q, 0.0))
    power = np.where(some_q & some_k, both, np.round(alone))
    power = np.minimum(np.maximum(power, -LARGEST_POWER), LARGEST_POWER)
    of_keys = power.astype(np.int64)
    return Balance(mantissa=mantissa, of_queries=exponent - of_keys, of_keys=of_keys, xp=xp)


def scaled(x: Array, scale: float, xp: Namespace) -> Array:
    """Return beta x: exact but for two roundings, overflow and underflow, also where beta itself is
    no normal number of the dtype.
    """
    mantissa, exponent = math.frexp(scale)
    return times_power(x, np.full(tuple(x.shape[:-2]), exponent), xp) * mantissa


def times_power(x: Array, powers: HostArray, xp: Namespace) -> Array:
    """Return x 2^p, shapes (..., n, m) and (...): exact but for overflow and underflow."""
    name = _arrays.dtype_name(x)
    most = LARGEST_STEP[name]
    while True:  # once at least, so that the work depends on sizes alone
        step = np.minimum(np.maximum(powers, -most), most)  # NumPy's clip takes 8 times as long
        factor = np.exp2(step.astype(np.float64))[..., None, None]
        x = x * _arrays.cast(_arrays.from_host(factor, x), name, xp)
        powers = powers - step
        if not np.any(powers):
            return x
