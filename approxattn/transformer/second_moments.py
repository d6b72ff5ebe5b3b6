"""How far keys and values lie apart under the attention's own weights: what the Jacobian of a head
at the computed point is made of.

Let f be the exact weights of row i for the computed queries and keys, c any centre, and |M|_2 the
largest eigenvalue of M = sum_j f_j (k_j - c)^T (k_j - c). Then for every unit vector w the standard
deviation of w . k_j under f is at most sigma_k = sqrt |M|_2, and so for v, and for W_Q k_j with W_Q
M W_Q^T. M is the output of attention whose values are the products of two coordinates of k_j - c,
so the attention method itself computes it, in the method's own time a column, and its certificate
says by how much an entry can be off: by e, then |M|_2 by at most (width) e (proved here: a
symmetric matrix of width w with entries at most e has eigenvalues at most w e).

max_j |k_j - c| has no weights in it and all directions at once: for tokens uniform in a cube of 8
dimensions it is about four times sigma_k.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn.bounds.scores import row_norms
from approxattn.certificate import SOFTMAX
from approxattn.transformer.affine import bounded, roundoff


class Spread(NamedTuple):
    """Upper bounds on sigma of k_j, of W_Q k_j and of v_j for each query, on the host, shapes (...,
    heads, n).
    """

    keys: HostArray
    steered: HostArray
    values: HostArray


def coordinate_products(x: Array, xp: Namespace) -> Array:
    """Return x_a x_b for a <= b, shape (..., n, w) -> (..., n, w (w + 1) / 2)."""
    return xp.concat([x[..., a : a + 1] * x[..., a:] for a in range(x.shape[-1])], axis=-1)


def centre(x: Array, key_mask: Array | None, xp: Namespace) -> Array:
    """Return a centre of the rows that take part, shape (..., heads, 1, w); any would do."""
    if key_mask is None:
        return xp.mean(x, axis=-2, keepdims=True)
    weight = xp.astype(key_mask[..., None, :, None], x.dtype)
    return xp.sum(weight * x, axis=-2, keepdims=True) / xp.sum(weight, axis=-2, keepdims=True)


def spread(
    keys: Array, values: Array, found: Array, rows: HostArray, target: str, to_queries: Array
) -> Spread:
    """Return the bounds.

    Parameters
    ----------
    keys, values : array, shapes (..., heads, n, width)
        k - c and v - c.
    found : array, shape (..., heads, n, columns)
        Attention whose values are the `coordinate_products` of both, side by side.
    rows : ndarray, shape (..., heads, n)
        What its certificate says of each row, towards `target`.
    to_queries : array, shape (heads, d, width)
        W_Q.
    """
    off = bounded(rows) if target == SOFTMAX else np.full_like(rows, np.inf)
    host, width = _arrays.to_host(found).astype(np.float64), keys.shape[-1]
    split = width * (width + 1) // 2
    # R with R^T R = W_Q^T W_Q: W_Q M W_Q^T and R M R^T have the same eigenvalues.
    _, sizes, turned = np.linalg.svd(
        _arrays.to_host(to_queries).astype(np.float64), full_matrices=False
    )
    # (heads, m, width), (heads, 1)
    r, top = sizes[..., None] * turned, np.max(sizes, axis=-1)[:, None]
    of_keys, of_values = (
        _symmetric(host[..., :split], width),
        _symmetric(host[..., split:], values.shape[-1]),
    )
    steered = r[:, None] @ of_keys @ np.swapaxes(r, -1, -2)[:, None]
    key_noise, value_noise = _noise(keys, of_keys, off), _noise(values, of_values, off)
    return Spread(
        _root(of_keys, key_noise),
        _root(steered, bounded(top * top * key_noise)),
        _root(of_values, value_noise),
    )


def _symmetric(entries: HostArray, width: int) -> HostArray:
    """Return matrices from their entries a <= b."""
    rows, columns = np.triu_indices(width)
    full = np.zeros((*entries.shape[:-1], width, width))
    full[..., rows, columns] = entries
    full[..., columns, rows] = entries
    return full


def _noise(x: Array, matrices: HostArray, off: HostArray) -> HostArray:
    """Return the bound on the error of the largest eigenvalue: the certificate, the rounding of the
    products, that of LAPACK (as in `affine.spectral`).
    """
    xp, width = _arrays.namespace(x=x), x.shape[-1]
    longest = np.max(row_norms(x, xp), axis=-1, keepdims=True)
    rounding = 8 * roundoff(x) * longest * longest + 4 * _arrays.smallest_normal(
        _arrays.dtype_name(x)
    )
    return bounded(
        width * (off + rounding) + 1e-10 * np.sqrt(np.sum(matrices * matrices, axis=(-2, -1)))
    )


def _root(matrices: HostArray, noise: HostArray) -> HostArray:
    known = np.isfinite(noise) & np.all(np.isfinite(matrices), axis=(-2, -1))
    largest = np.linalg.eigvalsh(np.where(known[..., None, None], matrices, 0.0))[..., -1]
    return bounded(np.where(known, np.sqrt(np.maximum(largest, 0.0) + noise), np.inf))
