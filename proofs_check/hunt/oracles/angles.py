"""Expected YOSO attention in extended precision, with a bound on the oracle's own error.

p = (1 - theta / pi)^bits with theta the angle between a query and a key. theta = 2 atan2(|a - b|,
|a + b|) for unit vectors a, b (Kahan; nothing cancels at parallel vectors). Proved here, u = 2^-64:

1. A coordinate of a computed unit vector is off by at most (d/2 + 4) u, so |a - b| and |a + b| by
   at most 2 sqrt(d) (d/2 + 4) u + (d + 4) u <= 4 (d + 4)^2 u each. As |a - b|^2 + |a + b|^2 = 4,
   theta is off by at most 8 (d + 4)^2 u + 4 u.
2. The base 1 - theta/pi lies in [0, 1], so p is off by at most bits times the error of the base,
   that is bits (4 (d + 4)^2 + 4) u, plus bits u for the powers.
3. The output by the sum of that times |v_j|, and gamma_{n+2} sum_j p_ij |v_j| for its own sum.
4. A row divided by its length |y| moves by at most 2 |error| / |y|, Euclidean norms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from proofs_check.hunt.oracles.softmax import Exact, Long, U, enlarged, gamma

Host = np.ndarray[Any, Any]


def yoso(
    q: Host,
    k: Host,
    v: Host,
    *,
    bits: int,
    normalize: bool = False,
    visible: Host | bool = True,
) -> Exact:
    """Return the expected YOSO output of stacks of problems, shape (..., n_q, dv).

    A zero vector stands at a right angle to every other vector and parallel to zero vectors, as its
    signs do.
    """
    q, k, v = (x.astype(Long) for x in (q, k, v))
    n, d = k.shape[-2], q.shape[-1]
    with np.errstate(all="ignore"):
        p = np.where(visible, _collision(q, k) ** bits, 0)
        out = p @ v
        error_of_p = bits * (4 * (d + 4) ** 2 + 5) * Long(U)
        error = np.where(visible, error_of_p, 0) @ np.abs(v) + gamma(n + 4) * (p @ np.abs(v))
        if not normalize:
            return Exact(out, enlarged(error))
        length = np.sqrt(np.sum(out * out, axis=-1, keepdims=True))
        moved = 2 * np.sqrt(np.sum(error * error, axis=-1, keepdims=True)) / length
        # a row of exact zeros stays zero: all values that have a weight vanish
        zero = (length == 0) & (np.max(error, axis=-1, keepdims=True) == 0)
        unit = np.where(length > 0, out / length, 0)
        return Exact(unit, enlarged(np.where(zero, 0, moved + 8 * Long(U)) + 0 * unit))


def _collision(q: Host, k: Host) -> Host:
    """Return 1 - theta/pi, shape (..., n_q, n_k)."""
    a, b = _unit(q)[..., :, None, :], _unit(k)[..., None, :, :]
    apart, together = (np.sqrt(np.sum(x * x, axis=-1)) for x in (a - b, a + b))
    pi = 4 * np.arctan(Long(1))
    share = 1 - 2 * np.arctan2(apart, together) / pi
    zero_q = ~(q != 0).any(axis=-1)[..., :, None]
    zero_k = ~(k != 0).any(axis=-1)[..., None, :]
    share = np.where(zero_q | zero_k, Long(0.5), share)
    return np.where(zero_q & zero_k, Long(1), share)


def _unit(x: Host) -> Host:
    top = np.max(np.abs(x), axis=-1, keepdims=True)
    y = x / np.where(top > 0, top, 1)
    length = np.sqrt(np.sum(y * y, axis=-1, keepdims=True))
    return y / np.where(length > 0, length, 1)
