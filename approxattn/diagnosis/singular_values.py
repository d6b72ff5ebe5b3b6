"""What no method of rank r can beat: errors of the output from the singular values of the weights.

Eckart & Young (1936): min over rank r of ||P - X|| is (sum_{j>r} s_j^2)^(1/2) in the Frobenius
norm, s_{r+1} in the spectral one, attained by the truncated P_r.

1. Let v_j be the right singular vectors of P and u_j the left ones, which are orthonormal.
2. So ||P_r V - P V||_F^2 = sum_{j>r} s_j^2 |v_j^T V|^2 (proved here).
3. P_r is the best for P, not for P V, whose rank is dv at most.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.factorisations import svd


def output_errors(weights: Array, v: Array) -> HostArray:
    """Return ||P_r V - P V||_F / ||P V||_F for r = 0, 1, ..., shape (min(m, n) + 1,), on the host;
    0 where P V vanishes.
    """
    xp = _arrays.namespace(weights=weights, v=v)
    _, s, vh = svd(weights, xp, full_matrices=False)
    parts = _arrays.to_float64(s**2 * xp.sum(xp.matmul(vh, v) ** 2, axis=-1))
    tails = np.concatenate([np.cumsum(parts[::-1])[::-1], [0.0]])
    return np.asarray(np.sqrt(tails / tails[0])) if tails[0] > 0 else np.zeros_like(tails)


def output_errors_of_rows(weights: HostArray, outputs: HostArray) -> HostArray:
    """Return the same for some rows of P, shape (r, n), and of P V, shape (r, dv), in float64 on
    the host, without the right singular vectors.

    s_j v_j^T V = u_j^T P V, and the u_j are the eigenvectors of P P^T: O(r^2 n). Singular values
    below 1e-8 of the largest drown in rounding, so errors below that mean nothing.
    """
    _, u = np.linalg.eigh(weights @ weights.T)
    parts = np.sum((u.T @ outputs) ** 2, axis=-1)  # from the smallest singular value on
    heads = np.concatenate([[0.0], np.cumsum(parts)])[::-1]
    return np.asarray(np.sqrt(heads / heads[0])) if heads[0] > 0 else np.zeros_like(heads)


def rank_for(errors: HostArray, tolerance: float) -> int:
    """Return the smallest r with `errors[r]` <= tolerance, errors as `output_errors` gives them."""
    return int(np.argmax(errors <= tolerance))
