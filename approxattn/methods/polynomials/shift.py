"""The shift of queries and keys that changes no attention.

Symbols. m and c are any two vectors, beta is the factor of the scores, w_j > 0 a weight of key j.

Identity (proved here; exact).

1. q_i . k_j = q_i . c + m . (k_j - c) + (q_i - m) . (k_j - c).
2. So exp(beta q_i . k_j) is the product of exp(beta q_i . c), of exp(beta m . (k_j - c)), and of
   exp(beta (q_i - m) . (k_j - c)).
3. The first factor depends on i only; the division by the row's sum removes it.
4. So attention is that of q - m and k - c with key j weighted by w_j = exp(beta m . (k_j - c)). Any
   common factor of the w_j may be left out.

Who chooses m and c: `centring` takes the means of queries and visible keys, `fit` takes for c the
w-weighted mean of the keys.
"""

from __future__ import annotations

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn._problem import Problem


def shift_keys(problem: Problem, centre: Array, dtype: str) -> Array:
    """Return k - c in a dtype, shape (..., n_k, d); keys that take no part become 0."""
    return problem.shown(_arrays.cast(problem.k, dtype, problem.xp) - centre)


def log_weights(problem: Problem, keys: Array, middle: Array) -> Array:
    """Return ln w_j = beta m . k_j less the largest of them, from keys that are shifted already.

    In float64, shape (..., n_k, 1); -inf for keys that take no part.
    """
    logs = slopes(problem, keys, middle)
    return logs - problem.xp.max(logs, axis=-2, keepdims=True)


def slopes(problem: Problem, keys: Array, middle: Array) -> Array:
    """Return beta m . k_j, of the same shape and dtype."""
    xp = problem.xp
    keys, middle = (_arrays.cast(x, "float64", xp) for x in (keys, middle))
    found = problem.scale * xp.matmul(keys, xp.matrix_transpose(middle))
    if problem.key_mask is None:
        return found
    return xp.where(problem.key_mask[..., None], found, xp.full_like(found, -xp.inf))
