"""Random hyperplanes through the origin, and the codes that rows get from the sides they lie on
(Charikar 2002, wording unverified).

Bit b of x is 1 if <w_b, x> > 0, w_b standard normal. A zero row has all bits 0.

Wrong bits (proved here). u is the unit roundoff, tiny the smallest normal number of the dtype. Let
w be one normal vector of width d.

1. x is divided by its largest entry, and w is rounded to the dtype: relative errors u an entry.
   That of x is harmless to signs, as a change of x.
2. So the computed product is off by at most delta |w||x| + e |x|, delta = gamma_{d+4}; e = d tiny
   covers underflow, as tiny <= 1 <= |x|.
3. A bit can be wrong only where |<w, x>| is at most that.
4. Let g = <w, x>/|x|, which is standard normal, and r the length of w across x. r does not depend
   on g, and E r <= sqrt(d - 1).
5. From |g| <= delta (|g| + r) + e follows |g| <= (delta r + e)/(1 - delta).
6. The density of |g| is at most sqrt(2/pi). Hence Pr[bit wrong] <= sqrt(2/pi) (delta sqrt(d - 1) +
   e) / (1 - delta).

The generator's normal numbers are taken at their word.
"""

from __future__ import annotations

import math

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, Namespace
from approxattn.bounds.rounding import gamma
from approxattn.hashing.directions import over_largest


def draw_hyperplanes(hashes: int, bits: int, like: Array, rng: np.random.Generator) -> Array:
    """Return normals, shape (hashes, bits, d), drawn on the host, in the dtype and on the device of
    `like`, shape (..., n, d).
    """
    host = rng.standard_normal((hashes, bits, int(like.shape[-1])))
    return _arrays.from_host(host.astype(_arrays.dtype_name(like)), like)


def sign_bits(x: Array, normals: Array, xp: Namespace) -> Array:
    """Return the bits of one hash: x (..., n, d), normals (bits, d) -> int64 (..., n, bits) of 0
    and 1.

    Signs do not depend on the length of a row: divide by its largest entry first (`over_largest`),
    so that no product can overflow.
    """
    return xp.astype(xp.matmul(x, xp.matrix_transpose(normals)) > 0, xp.int64)


def pack(bits: Array, xp: Namespace) -> Array:
    """Return the code sum_b 2^b bit_b, shape (..., n, bits) -> (..., n)."""
    weights = 2 ** xp.arange(bits.shape[-1], dtype=xp.int64, device=_arrays.device(bits))
    return xp.sum(bits * weights, axis=-1, dtype=xp.int64)


def pack_modular(bits: Array, coefficients: Array, table_size: int, xp: Namespace) -> Array:
    """Return the code (sum_b c_b bit_b) mod table_size of BERT-LSH: bits (..., n, bits),
    coefficients (bits,) -> (..., n).
    """
    return xp.sum(bits * coefficients, axis=-1, dtype=xp.int64) % table_size


def codes(x: Array, normals: Array, xp: Namespace) -> Array:
    """Return the code of every row in every hash: x (..., n, d), normals (hashes, bits, d) -> int64
    (hashes, ..., n).
    """
    x = over_largest(x, xp)
    return xp.stack([pack(sign_bits(x, normals[h, ...], xp), xp) for h in range(normals.shape[0])])


def modular_codes(
    x: Array, normals: Array, coefficients: Array, table_size: int, xp: Namespace
) -> Array:
    """Return the BERT-LSH code of every row in every table: x (..., n, d), normals (tables, bits,
    d) -> int64 (tables, ..., n).
    """
    x = over_largest(x, xp)
    tables = range(normals.shape[0])
    return xp.stack(
        [
            pack_modular(sign_bits(x, normals[t, ...], xp), coefficients[t, ...], table_size, xp)
            for t in tables
        ]
    )


def wrong_bit_probability(d: int, dtype: str, u: float | None = None) -> float:
    """Bound the probability that rounding changes one bit of one row; `u` if not that of dtype."""
    delta = gamma(d + 4, _arrays.unit_roundoff(dtype) if u is None else u, 1)
    lost = d * _arrays.smallest_normal(dtype)
    if delta >= 1:
        return 1.0
    return min(
        1.0,
        math.sqrt(2 / math.pi) * (delta * math.sqrt(d - 1) + lost) / (1 - delta) * (1 + 2.0**-40),
    )
