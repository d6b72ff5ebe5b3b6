"""Positive random features of the exponential kernel, by their logarithms, and their exact
variances.

Symbols. x = sqrt(beta) q, y = sqrt(beta) k, z = x + y, and w is a standard normal vector.

Features. E e^{w.x - |x|^2/2} e^{w.y - |y|^2/2} = e^{x.y} (Choromanski et al. 2021, arXiv
2009.14794, "positive features"; wording unverified). The factor e^{-|x|^2/2} of a query is common
to its row and is left out.

Exact variance (proved here), relative to e^{2 x.y}, for m independent draws of w.

1. w.z is N(0, |z|^2), so E e^{2 w.z} = e^{2 |z|^2}.
2. One positive feature pair has the variance e^{-|x|^2 - |y|^2} (e^{2 |z|^2} - e^{|z|^2}) = e^{2
   x.y} (e^{|z|^2} - 1).
3. "positive", the mean of m pairs: (e^{|z|^2} - 1) / m.
4. "hyperbolic", the mean of e^{w.z} and e^{-w.z}, has the second moment E cosh^2(w.z) = (e^{2
   |z|^2} + 1)/2.
5. Hence "hyperbolic": (e^{|z|^2} - 1) (1 - e^{-|z|^2}) / (2 m).

Orthogonal draws, in blocks of d at right angles with lengths as of independent normal vectors, are
never worse (proved here). r and r' are the lengths of two vectors w and w'.

1. For two of a block, E e^{(w + w').z} is the mean over directions of z at |w + w'|^2 = r^2 + r'^2.
2. For independent ones it is the mean at r^2 + r'^2 + 2 r r' cos.
3. The mean over the sphere of e^{a.z} is a power series in |a|^2 with non-negative coefficients, so
   it is convex in |a|^2.
4. By Jensen's inequality the covariance of the two is <= 0.
5. The same holds for each of the four sign pairs of the hyperbolic features.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.rounding import up

KINDS = ("positive", "hyperbolic")


def directions(
    d: int, features: int, kind: str, orthogonal: bool, rng: np.random.Generator
) -> HostArray:
    """Draw the vectors w, shape (features, d); hyperbolic: half of them, followed by their
    negatives.
    """
    count = features // 2 if kind == "hyperbolic" else features
    normal = rng.standard_normal((-(-count // d) * d if orthogonal else count, d))
    if orthogonal:
        lengths = np.linalg.norm(rng.standard_normal(normal.shape), axis=1, keepdims=True)
        blocks = [_rotation(normal[i : i + d]) for i in range(0, len(normal), d)]
        normal = (lengths * np.concatenate(blocks))[:count]
    return np.concatenate([normal, -normal]) if kind == "hyperbolic" else normal


def longest(w: HostArray) -> float:
    """Return the length of the longest of the directions, shape (features, d)."""
    return float(np.max(np.linalg.norm(w, axis=1)))


def _rotation(normal: HostArray) -> HostArray:
    """Return an orthogonal matrix, uniformly distributed: the sign of the diagonal of R decides
    those of Q.
    """
    q, r = np.linalg.qr(normal)
    return np.asarray(q * np.where(np.diag(r) < 0, -1.0, 1.0))


def relative_variance(squared_norm: HostArray, features: int, kind: str) -> HostArray:
    """Return Var / e^{2 x.y} of the estimate of e^{x.y} from so many features in all, for |x +
    y|^2; for orthogonal draws an upper bound.
    """
    with np.errstate(over="ignore"):
        one = np.expm1(squared_norm)
        if kind == "positive":
            return up(one / features)
        return up(one * -np.expm1(-squared_norm) / features)  # 2 m = features


def log_query_features(problem: Problem, w: Array, first: int, last: int) -> Array:
    """Return w.x of query rows first..last-1, shape (..., rows, m)."""
    x = problem.q[..., first:last, :] * problem.scale**0.5
    return problem.xp.matmul(x, problem.xp.matrix_transpose(w))


def log_key_features(problem: Problem, w: Array, start: int, end: int) -> Array:
    """Return w.y - |y|^2/2 of keys start..end-1, shape (..., keys, m); -inf for keys that the mask
    hides.
    """
    xp = problem.xp
    y = problem.k[..., start:end, :] * problem.scale**0.5
    logs = xp.matmul(y, xp.matrix_transpose(w)) - xp.sum(y * y, axis=-1, keepdims=True) / 2
    if problem.key_mask is None:
        return logs
    return xp.where(problem.key_mask[..., start:end, None], logs, xp.full_like(logs, -xp.inf))


def on_device(w: HostArray, problem: Problem) -> Array:
    """Return the directions where the problem is, in the dtype computed in."""
    return _arrays.from_host(w.astype(problem.dtype), problem.q)
