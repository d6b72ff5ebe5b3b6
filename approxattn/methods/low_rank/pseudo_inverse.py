"""Approximate inverses of small matrices, batched, with their gradients: Newton-Schulz iterations
and truncated singular values.

Newton-Schulz. Z <- Z (13 I - AZ (15 I - AZ (7 I - AZ))) / 4 from Z_0 = A^T / (|A|_1 |A|_inf), as in
Nystromformer (Xiong et al. 2021, wording unverified), but with the norms of each matrix: the
published code takes the largest of the whole batch, so that one item changes the others.

1. An eigenvalue e of I - AZ becomes 3 e^3 / 4 + e^4 / 4 (proved here: put AZ = 1 - e into the
   polynomial).
2. It stays in [0, 1), since |A|_2^2 <= |A|_1 |A|_inf.
3. So a few iterations invert large singular values and damp small ones, which regularises.
4. A may be rectangular. Rows and columns of zeros of A stay columns and rows of zeros of Z.

Truncation. For A = U Sigma V^T, Z = V f(Sigma) U^T with f(s) = 1/s above rcond max s, else 0.
Values below the root of the smallest normal number count as 0 as well: they are noise, and their
inverses would overflow.

Its derivative (proved here) along dA, with the rotated direction E = U^T dA V.

1. The symmetric matrix [[0, A], [A^T, 0]] has the eigenvalues +-s.
2. First-order perturbation of it gives

    U^T dZ^T V = S o (E + E^T)/2 + T o (E - E^T)/2,
    S_ij = (f(s_i) - f(s_j)) / (s_i - s_j),   T_ij = (f(s_i) + f(s_j)) / (s_i + s_j).

3. Where s_i = s_j, S_ij has its limit -1/s^2 (or 0).
4. The map is its own adjoint.
"""

from __future__ import annotations

from approxattn import _arrays
from approxattn._arrays import Array, Namespace
from approxattn._arrays.factorisations import svd


def newton_schulz(a: Array, iterations: int, xp: Namespace) -> Array:
    """Return Z after so many iterations, shape (..., m, l) -> (..., l, m)."""
    return _iterate(a, iterations, xp)[-1]


def newton_schulz_gradient(a: Array, iterations: int, dz: Array, xp: Namespace) -> Array:
    """Return the gradient with respect to a, given that with respect to Z; where a norm is attained
    twice, one of its derivatives.
    """
    steps = _iterate(a, iterations, xp)
    t = xp.matrix_transpose
    eye = _eye(a, xp)
    da = xp.zeros_like(a)
    for z in reversed(steps[:-1]):
        m = xp.matmul(a, z)
        inner = 7 * eye - m
        middle = 15 * eye - xp.matmul(m, inner)
        outer = 13 * eye - xp.matmul(m, middle)
        d_outer = xp.matmul(t(z), dz) / 4
        d_middle = -xp.matmul(t(m), d_outer)
        d_inner = -xp.matmul(t(m), d_middle)
        dm = -xp.matmul(d_outer, t(middle)) - xp.matmul(d_middle, t(inner)) - d_inner
        da = da + xp.matmul(dm, t(z))
        dz = xp.matmul(dz, t(outer)) / 4 + xp.matmul(t(a), dm)
    return da + _start_gradient(a, dz, xp)


def _iterate(a: Array, iterations: int, xp: Namespace) -> list[Array]:
    eye = _eye(a, xp)
    columns, rows = _norms(a, xp)
    steps = [xp.matrix_transpose(a) / (columns * rows)]
    for _ in range(iterations):
        z = steps[-1]
        m = xp.matmul(a, z)
        inner = 13 * eye - xp.matmul(m, 15 * eye - xp.matmul(m, 7 * eye - m))
        steps.append(xp.matmul(z, inner) / 4)
    return steps


def _norms(a: Array, xp: Namespace) -> tuple[Array, Array]:
    """Return |A|_1 and |A|_inf of each matrix, shapes (..., 1, 1)."""
    size = xp.abs(a)
    columns = xp.max(xp.sum(size, axis=-2, keepdims=True), axis=-1, keepdims=True)
    rows = xp.max(xp.sum(size, axis=-1, keepdims=True), axis=-2, keepdims=True)
    return columns, rows


def _start_gradient(a: Array, dz: Array, xp: Namespace) -> Array:
    """Return the gradient through Z_0 = A^T / (columns rows)."""
    size = xp.abs(a)
    by_column, by_row = xp.sum(size, axis=-2, keepdims=True), xp.sum(size, axis=-1, keepdims=True)
    columns, rows = _norms(a, xp)
    dot = xp.sum(xp.matrix_transpose(dz) * a, axis=(-2, -1), keepdims=True)
    widest = xp.astype(_first(by_column == columns, -1, xp), a.dtype)
    longest = xp.astype(_first(by_row == rows, -2, xp), a.dtype)
    slope = widest / columns + longest / rows
    # `sign` of array_api_compat looks for NaN, and waits for a device to answer
    sign = xp.astype(a > 0, a.dtype) - xp.astype(a < 0, a.dtype)
    return (xp.matrix_transpose(dz) - dot * slope * sign) / (columns * rows)


def _first(hit: Array, axis: int, xp: Namespace) -> Array:
    """Return True at the first True along an axis, False elsewhere."""
    place = xp.argmax(xp.astype(hit, xp.int8), axis=axis, keepdims=True)
    numbers = xp.arange(hit.shape[axis], dtype=place.dtype, device=_arrays.device(hit))
    return xp.reshape(numbers, (-1, 1) if axis == -2 else (1, -1)) == place


def _eye(a: Array, xp: Namespace) -> Array:
    return xp.eye(a.shape[-2], dtype=a.dtype, device=_arrays.device(a))


def truncated_inverse(a: Array, rcond: float, xp: Namespace) -> Array:
    """Return V f(Sigma) U^T, shape (..., m, l) -> (..., l, m)."""
    u, s, vh = svd(a, xp, full_matrices=False)
    inverse = _inverted(s, rcond, xp)
    return xp.matmul(xp.matrix_transpose(vh) * inverse[..., None, :], xp.matrix_transpose(u))


def truncated_inverse_gradient(a: Array, rcond: float, dz: Array, xp: Namespace) -> Array:
    """Return the gradient with respect to a, shape (..., m, l), given that with respect to Z."""
    rows, columns = a.shape[-2:]
    side = max(rows, columns)
    u, s, vh = svd(_square(a, side, xp), xp)
    f = _inverted(s, rcond, xp)
    kept = f > 0
    s_i, s_j, f_i, f_j = s[..., :, None], s[..., None, :], f[..., :, None], f[..., None, :]
    both = kept[..., :, None] & kept[..., None, :]
    gap, total = s_i - s_j, s_i + s_j
    one = xp.ones_like(gap)
    # both kept: (1/a - 1/b)/(a - b) = -1/(a b), also in the limit; one kept: a gap of at least the
    # threshold; none: 0
    split = kept[..., :, None] ^ kept[..., None, :]
    symmetric = xp.where(
        both, -f_i * f_j, xp.where(split, (f_i - f_j) / xp.where(split, gap, one), 0 * one)
    )
    skew = (f_i + f_j) / xp.where(total > 0, total, one)
    v = xp.matrix_transpose(vh)
    e = xp.matmul(xp.matrix_transpose(u), xp.matmul(_square(xp.matrix_transpose(dz), side, xp), v))
    transposed = xp.matrix_transpose(e)
    inside = symmetric * (e + transposed) / 2 + skew * (e - transposed) / 2
    return xp.matmul(u, xp.matmul(inside, vh))[..., :rows, :columns]


def _inverted(s: Array, rcond: float, xp: Namespace) -> Array:
    least = rcond * xp.max(s, axis=-1, keepdims=True)
    # the inverse of anything smaller would overflow when squared
    keep = (s > least) & (s > _arrays.smallest_normal(_arrays.dtype_name(s)) ** 0.5)
    return xp.where(keep, 1 / xp.where(keep, s, xp.ones_like(s)), xp.zeros_like(s))


def _square(a: Array, side: int, xp: Namespace) -> Array:
    """Return the matrix with rows or columns of zeros appended."""
    *batch, rows, columns = a.shape
    like = {"dtype": a.dtype, "device": _arrays.device(a)}
    a = xp.concat([a, xp.zeros((*batch, side - rows, columns), **like)], axis=-2)
    return xp.concat([a, xp.zeros((*batch, side, side - columns), **like)], axis=-1)
