"""Linear systems and singular values in any library, with NumPy's errors.

NumPy raises where a matrix is singular or an iteration does not end. PyTorch raises an error of its
own. CuPy and JAX raise nothing, and return what is not finite: for finite arguments, that is the
sign. Whether there is one is read by the host, in one fetch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from approxattn._arrays import Array, Namespace


def solve(a: Array, b: Array, xp: Namespace) -> Array:
    """Return the x of a x = b, shapes (..., n, n), (..., n, m) -> (..., n, m).

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix is singular.
    """
    return _checked(lambda: xp.linalg.solve(a, b), (a, b), xp, "Singular matrix")


def svd(a: Array, xp: Namespace, *, full_matrices: bool = True) -> tuple[Array, Array, Array]:
    """Return U, the singular values and V^T of a, shape (..., m, l).

    Raises
    ------
    numpy.linalg.LinAlgError
        If the iteration did not converge.
    """
    u, s, vt = _checked(
        lambda: xp.linalg.svd(a, full_matrices=full_matrices), (a,), xp, "SVD did not converge"
    )
    return u, s, vt


def _checked(find: Callable[[], Any], given: tuple[Array, ...], xp: Namespace, why: str) -> Any:
    try:
        found = find()
    except RuntimeError as error:  # PyTorch's
        if isinstance(given[0], np.ndarray) or "linalg" not in str(error):
            raise
        raise np.linalg.LinAlgError(why) from error
    if isinstance(given[0], np.ndarray):
        return found
    parts = found if isinstance(found, tuple) else (found,)
    failed = ~_all_finite(parts, xp) & _all_finite(given, xp)
    if bool(failed):
        raise np.linalg.LinAlgError(why)
    return found


def _all_finite(arrays: tuple[Array, ...], xp: Namespace) -> Array:
    finite = xp.all(xp.isfinite(arrays[0]))
    for x in arrays[1:]:
        finite = finite & xp.all(xp.isfinite(x))
    return finite
