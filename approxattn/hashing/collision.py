"""How often rows collide: exact probabilities of sign hashing.

Notation: theta_ij is the angle between rows i and j, a code has `bits` independent hyperplanes.

One hyperplane (Goemans & Williamson 1995; Charikar 2002; wording unverified). It separates two
vectors at angle theta with probability theta/pi. Hence the power for a code.

Three vectors (proved here, in any dimension).

1. A hyperplane splits none of the three pairs, or exactly two of them.
2. So twice the probability of any split is the sum of the three pair probabilities: Pr[all on one
   side] = 1 - (theta_12 + theta_13 + theta_23)/(2 pi).

Variance (proved here). B_ij = 1 where query i and key j collide in one hash, p_ij is its mean, out
the mean of B V over m independent hashes and P V its expectation.

1. All keys share the hash, so B_ij and B_il of one row are dependent. E B_ij B_il = p_ijl, the
   probability that all three codes agree.
2. E|out_i - P_i V|^2 = (1/m) sum_{j,l} (p_ijl - p_ij p_il) <v_j, v_l>.

Angles (proved here). Unit rows, cosines and arccos are computed in float64.

1. An entry of a computed unit row has a relative error of at most gamma_{d/2+6}, the product of two
   rows one of gamma_d.
2. So a computed cosine is within delta = gamma_{2d+16} of the true one. So is its clip to [-1, 1].
3. arccos has the slope 1/sqrt(1 - x^2), which grows with |x|. Over all pairs at distance delta it
   changes most at the end: |acos x - acos y| <= acos(1 - |x - y|) = 2 asin(sqrt(|x - y| / 2)).
4. Where the computed |x| <= NEAR, the slope between x and y is at most 1/sqrt(1 - (NEAR +
   delta)^2).
"""

from __future__ import annotations

import math

from approxattn import _arrays
from approxattn._arrays import Array, Namespace
from approxattn.bounds.rounding import U64, gamma
from approxattn.hashing.directions import is_zero, unit_rows

NEAR = 0.99
"""Cosine beyond which a pair counts as near (or opposite). *Chosen*: the slope of arccos is below
7.1 elsewhere.
"""

ACOS_ERROR = 64 * U64
"""Error of arccos itself. *Chosen*: 8 units of the last place of pi, the same again for 1 -
theta/pi.
"""


def cosines(a: Array, b: Array, xp: Namespace) -> Array:
    """Return the cosines of all pairs of rows, shapes (..., n, d), (..., m, d) -> float64 (..., n,
    m), within `cosine_error(d)`.

    A zero row is at cosine 0 to every other row and at cosine 1 to another zero row: all its bits
    are 0, as are those of a nonzero row with probability 2^-bits = (1 - arccos(0)/pi)^bits, and
    those of another zero row always.
    """
    a, b = (_arrays.cast(x, "float64", xp) for x in (a, b))
    product = xp.matmul(unit_rows(a, xp), xp.matrix_transpose(unit_rows(b, xp)))
    product = xp.minimum(xp.maximum(product, -xp.ones_like(product)), xp.ones_like(product))
    both = is_zero(a, xp)[..., :, None] & is_zero(b, xp)[..., None, :]
    return xp.where(both, xp.ones_like(product), product)


def cosine_error(d: int) -> float:
    """Bound the error of a computed cosine of rows of width d."""
    return gamma(2 * d + 16, U64) + d * 2.0**-1000


def angle_errors(d: int) -> tuple[float, float]:
    """Bound the error of arccos of a computed cosine: for |cosine| <= NEAR, and for any."""
    delta = min(cosine_error(d), 2.0)
    anywhere = 2 * math.asin(math.sqrt(delta / 2)) * (1 + 2.0**-40) + ACOS_ERROR
    largest = NEAR + delta
    apart = math.inf
    if largest < 1:
        apart = delta / math.sqrt(1 - largest * largest) * (1 + 2.0**-40) + ACOS_ERROR
    return min(apart, anywhere), anywhere


def pair_probability(theta: Array, bits: int) -> Array:
    """Return Pr[all bits of two rows at angle theta agree] = (1 - theta/pi)^bits."""
    return (1 - theta / math.pi) ** bits


def triple_probability(
    theta_12: Array, theta_13: Array, theta_23: Array, bits: int, xp: Namespace
) -> Array:
    """Return Pr[all bits of three rows agree]; the angles broadcast.

    Rounded sums of angles beyond 2 pi count as 2 pi.
    """
    one_bit = 1 - (theta_12 + theta_13 + theta_23) / (2 * math.pi)
    return xp.maximum(one_bit, xp.zeros_like(one_bit)) ** bits


def ball_probability(theta: Array, bits: int, radius: int) -> Array:
    """Return Pr[codes of two rows at angle theta differ in at most `radius` (0 or 1) bits]: p^bits,
    and bits p^(bits-1) (1 - p) more.
    """
    p = 1 - theta / math.pi
    return p**bits if radius == 0 else p ** (bits - 1) * (p + bits * (1 - p))


def ball_pair_and_triple(
    q: Array, k: Array, bits: int, radius: int, xp: Namespace
) -> tuple[Array, Array]:
    """Return Pr[k_j is within `radius` (0 or 1) bits of q_i], shape (..., n_q, n_k), and of k_j and
    k_l both, (..., n_q, n_k, n_k).

    Proved here, for radius 1 and b bits.

    1. One bit agrees with that of q for both keys with probability t, for j only with s_j, for l
       only with s_l, for neither with r; these follow from pairs and triples.
    2. At most one bit may differ for each key. No bit does: t^b.
    3. One bit differs, for one key or for both: b t^(b-1) (s_j + s_l + r).
    4. Two different bits differ, one for each key: b (b-1) t^(b-2) s_j s_l.
    """
    if radius == 0:
        return pair_and_triple(q, k, bits, xp)
    theta = xp.acos(cosines(q, k, xp))
    one, both = pair_and_triple(q, k, 1, xp)
    zero = xp.zeros_like(both)
    only_j, only_l = (xp.maximum(p - both, zero) for p in (one[..., :, None], one[..., None, :]))
    neither = xp.maximum(1 - both - only_j - only_l, zero)
    joint = both**bits + bits * both ** (bits - 1) * (only_j + only_l + neither)
    if bits > 1:
        joint = joint + bits * (bits - 1) * both ** (bits - 2) * only_j * only_l
    return ball_probability(theta, bits, 1), joint


def modular_probability(pattern: Array, table_size: int) -> Array:
    """Return Pr[two codes (sum_b c_b bit_b) mod T agree], given that the bit patterns do with
    probability `pattern`.

    Different patterns differ by a vector with an entry +-1, and c_b times that is uniform mod T:
    they collide with probability 1/T.
    """
    return pattern + (1 - pattern) / table_size


def union_probability(one_table: Array, tables: int) -> Array:
    """Return Pr[a collision in at least one of independent tables] = 1 - (1 - p)^tables."""
    return 1 - (1 - one_table) ** tables


def union_joint(one: Array, other: Array, both: Array, tables: int) -> Array:
    """Return Pr[two keys each collide with a query in at least one of independent tables], from the
    probabilities in one table.
    """
    return 1 - (1 - one) ** tables - (1 - other) ** tables + (1 - one - other + both) ** tables


def column_variance(q: Array, k: Array, v: Array, bits: int, xp: Namespace) -> Array:
    """Return the variance of every entry under one hash, shape (..., n_q, dv), float64; exact but
    for rounding.

    O(n_q n_k^2) time and memory.
    """
    v = _arrays.cast(v, "float64", xp)
    moved = xp.matmul(_covariance(q, k, bits, xp), v[..., None, :, :])  # (..., n_q, n_k, dv)
    total = xp.sum(moved * v[..., None, :, :], axis=-2)
    return xp.maximum(total, xp.zeros_like(total))


def pair_and_triple(q: Array, k: Array, bits: int, xp: Namespace) -> tuple[Array, Array]:
    """Return p_ij, shape (..., n_q, n_k), and p_ijl, shape (..., n_q, n_k, n_k)."""
    query_angles, key_angles = xp.acos(cosines(q, k, xp)), xp.acos(cosines(k, k, xp))
    triple = triple_probability(
        query_angles[..., :, None],
        query_angles[..., None, :],
        key_angles[..., None, :, :],
        bits,
        xp,
    )
    return pair_probability(query_angles, bits), triple


def _covariance(q: Array, k: Array, bits: int, xp: Namespace) -> Array:
    """Return p_ijl - p_ij p_il, shape (..., n_q, n_k, n_k)."""
    p, triple = pair_and_triple(q, k, bits, xp)
    return triple - p[..., :, None] * p[..., None, :]


def root_mean_square_error(
    q: Array, k: Array, v: Array, bits: int, hashes: int, xp: Namespace
) -> Array:
    """Return sqrt(E|out_i - P_i V|^2) for every row, shape (..., n_q), float64; exact but for
    rounding.

    O(n_q n_k^2) time and memory.
    """
    v = _arrays.cast(v, "float64", xp)
    # (..., 1, 1): squares of v / top cannot overflow
    top = xp.max(xp.abs(v), axis=(-2, -1), keepdims=True)
    v = v / xp.where(top > 0, top, xp.ones_like(top))
    inner = xp.matmul(v, xp.matrix_transpose(v))[..., None, :, :]
    total = xp.sum(_covariance(q, k, bits, xp) * inner, axis=(-2, -1)) / hashes
    return top[..., 0] * xp.sqrt(xp.maximum(total, xp.zeros_like(total)))
