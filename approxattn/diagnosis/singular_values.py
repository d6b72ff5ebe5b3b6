"""What no method of rank r can beat: singular values of the weights, exact or by random projection.

Eckart & Young (1936): min over rank r of ||P - X|| is (sum_{j>r} s_j^2)^(1/2) in the Frobenius
norm, s_{r+1} in the spectral one, attained by the truncated P_r. For the output, ||P_r V - P
V||_F^2 = sum_{j>r} s_j^2 |v_j^T V|^2, v_j the right singular vectors (proved here: the u_j are
orthonormal); P_r is the best for P, not for P V, whose rank is dv at most.

Randomised (Halko, Martinsson & Tropp 2011, theorem 10.5; wording unverified): Q an orthonormal
basis of A Omega, Omega Gaussian with r + p columns, p >= 2, has

    E ||A - Q Q^T A||_F <= (1 + r / (p - 1))^(1/2) (sum_{j>r} s_j^2)^(1/2).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray


class Factors(NamedTuple):
    """u diag(s) vh, shapes (m, r), (r,), (r, n), s decreasing."""

    u: Array
    s: Array
    vh: Array


def truncated_svd(a: Array, rank: int) -> Factors:
    """Return the best approximation of rank r of a, shape (m, n); all of a if r exceeds
    its rank.
    """
    xp = _arrays.namespace(a=a)
    return _first(rank, *xp.linalg.svd(a, full_matrices=False))


def randomised_svd(
    a: Array, rank: int, rng: np.random.Generator, *, oversampling: int = 8, power: int = 1
) -> Factors:
    """Return an approximation of rank r from products with r + p random vectors: O(m n (r + p))
    (power + 1) times.

    Parameters
    ----------
    a : array, shape (m, n)
        The matrix.
    rank : int
        r >= 1.
    rng : numpy.random.Generator
        Draws the vectors, on the host.
    oversampling : int
        p.
    power : int
        Times that A A^T is applied on top, each with a new basis: sharpens slowly decaying singular
        values.
    """
    xp = _arrays.namespace(a=a)
    m, n = a.shape
    width = min(rank + oversampling, m, n)
    omega = _arrays.from_host(rng.standard_normal((n, width)).astype(_arrays.dtype_name(a)), a)
    q, _ = xp.linalg.qr(xp.matmul(a, omega))
    for _ in range(power):
        back, _ = xp.linalg.qr(xp.matmul(xp.matrix_transpose(a), q))
        q, _ = xp.linalg.qr(xp.matmul(a, back))
    u, s, vh = xp.linalg.svd(xp.matmul(xp.matrix_transpose(q), a), full_matrices=False)
    return _first(rank, xp.matmul(q, u), s, vh)


def _first(rank: int, u: Array, s: Array, vh: Array) -> Factors:
    rank = min(rank, s.shape[0])
    return Factors(u[:, :rank], s[:rank], vh[:rank, :])


def projection_bound(singular_values: HostArray, rank: int, oversampling: int) -> float:
    """Return the bound on E ||A - Q Q^T A||_F for r + p random vectors without power steps, p >= 2,
    given all singular values.
    """
    if oversampling < 2:
        msg = (
            f"oversampling(={oversampling}) must be at least 2: the expectation is not bounded "
            "below that"
        )
        raise ValueError(msg)
    return math.sqrt(1 + rank / (oversampling - 1)) * float(np.linalg.norm(singular_values[rank:]))


def output_errors(weights: Array, v: Array) -> HostArray:
    """Return ||P_r V - P V||_F / ||P V||_F for r = 0, 1, ..., shape (min(m, n) + 1,), on the host;
    0 where P V vanishes.
    """
    xp = _arrays.namespace(weights=weights, v=v)
    _, s, vh = xp.linalg.svd(weights, full_matrices=False)
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
