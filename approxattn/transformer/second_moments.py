"""How far keys and values lie apart under the attention's own weights: what the Jacobian of a head
at the computed point is made of.

Symbols. f are the exact weights of row i for the computed queries and keys, c is any centre, and
M = sum_j f_j (k_j - c)^T (k_j - c), with largest eigenvalue |M|_2.

Standard deviations (proved here).

1. For a unit vector x, the standard deviation of x . k_j under f is at most its root mean square
   about c, which is sqrt(x M x^T).
2. So it is at most sigma_k = sqrt |M|_2; likewise for v, and for W_Q k_j with W_Q M W_Q^T.
3. An entry of M is attention whose values are products of two coordinates of k_j - c. So the
   attention method itself computes M, in its own time a column, and its certificate bounds the
   error of an entry by some e.
4. A symmetric matrix of width p with entries of at most e has eigenvalues of at most p e: |M|_2 is
   off by at most p e.

The products are taken of (k_j - c) / t, t the largest entry of all, so that they neither overflow
nor vanish; sigma_k is t times what comes out.

max_j |k_j - c| has no weights in it and all directions at once: for tokens uniform in a cube of 8
dimensions it is about four times sigma_k.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem.input import hide
from approxattn.bounds.scores import row_norms
from approxattn.certificate import SOFTMAX, Certificate
from approxattn.transformer.affine import bounded, euclidean, plain_roundoff, tiny
from approxattn.transformer.sight import Sight, centre


class Spread(NamedTuple):
    """Upper bounds on sigma of k_j, of W_Q k_j and of v_j for each query, on the host, shapes (...,
    heads, n).
    """

    keys: HostArray
    steered: HostArray
    values: HostArray


class Apart(NamedTuple):
    """(x_j - c) / t, 0 for hidden tokens, shape (..., heads, n, width), and t, shape (..., heads,
    1), on the host.
    """

    unit: Array
    size: HostArray


def coordinate_products(x: Array, xp: Namespace) -> Array:
    """Return x_a x_b for a <= b, shape (..., n, w) -> (..., n, w (w + 1) / 2)."""
    return xp.concat([x[..., a : a + 1] * x[..., a:] for a in range(x.shape[-1])], axis=-1)


def apart(x: Array, sight: Sight, xp: Namespace) -> Apart:
    """Return how far rows lie from their centre, as fractions of the largest entry."""
    off = hide(x - centre(x, sight, xp), sight.of_heads["key_mask"], xp)
    top = xp.max(xp.abs(off), axis=(-2, -1), keepdims=True)
    unit = off / xp.where(top > 0, top, xp.ones_like(top))
    return Apart(unit, _arrays.to_float64(top[..., 0]))


def spread(
    keys: Apart, values: Apart, moments: Array, certificate: Certificate, to_queries: Array
) -> Spread:
    """Return the bounds.

    Parameters
    ----------
    keys, values : Apart
        Of k and v.
    moments : array, shape (..., heads, n, columns)
        Attention whose values are the `coordinate_products` of both, side by side.
    certificate : Certificate
        What bounds the error of `moments`.
    to_queries : array, shape (heads, d, width)
        W_Q.
    """
    rows = certificate.rows
    off = bounded(rows) if certificate.target == SOFTMAX else np.full_like(rows, np.inf)
    host, width = _arrays.to_float64(moments), keys.unit.shape[-1]
    split = width * (width + 1) // 2
    of_keys = _symmetric(host[..., :split], width)
    of_values = _symmetric(host[..., split:], values.unit.shape[-1])
    key_noise = _noise(keys.unit, of_keys, off)
    # R with R^T R = W_Q^T W_Q: W_Q M W_Q^T and R M R^T have the same eigenvalues. R is S V^T of the
    # singular value decomposition; (heads, m, width), its norm (heads, 1).
    _, sizes, right = np.linalg.svd(_arrays.to_float64(to_queries), full_matrices=False)
    r, top = sizes[..., None] * right, np.max(sizes, axis=-1)[:, None]
    steered = bounded(top * top * (1 + 1e-10)) * key_noise
    turned = r[:, None] @ of_keys @ np.swapaxes(r, -1, -2)[:, None]
    return Spread(
        bounded(keys.size * _root(of_keys, key_noise)),
        bounded(keys.size * _root(turned, bounded(steered))),
        bounded(values.size * _root(of_values, _noise(values.unit, of_values, off))),
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
    rounding = 8 * plain_roundoff(x) * longest * longest + 4 * tiny(x)
    return bounded(width * (off + rounding) + 1e-10 * euclidean(matrices, (-2, -1)))


def _root(matrices: HostArray, noise: HostArray) -> HostArray:
    """Return the root of the largest eigenvalue plus the noise; inf where either is not finite."""
    known = np.isfinite(noise) & np.all(np.isfinite(matrices), axis=(-2, -1))
    largest = np.linalg.eigvalsh(np.where(known[..., None, None], matrices, 0.0))[..., -1]
    return bounded(np.where(known, np.sqrt(np.maximum(largest, 0.0) + noise), np.inf))
