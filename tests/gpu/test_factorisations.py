"""Singular systems and iterations without an end raise NumPy's error on every library, where CuPy
raises none.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import array_api_compat
import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays.factorisations import solve, svd

SINGULAR = np.ones((2, 2, 2))
REGULAR = np.stack([np.eye(2), [[2.0, 1.0], [1.0, 3.0]]])


def there(library: str, cupy: ModuleType) -> Any:
    if library == "torch":
        return pytest.importorskip("torch").asarray
    return {"numpy": np.asarray, "cupy": cupy.asarray}[library]


LIBRARIES = ["numpy", "cupy", pytest.param("torch", marks=pytest.mark.long)]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("which", ["all", "one of two"])
def test_singular(cupy: ModuleType, library: str, which: str) -> None:
    put = there(library, cupy)
    a = SINGULAR if which == "all" else np.stack([REGULAR[1], SINGULAR[0]])
    a, b = put(a), put(np.ones((2, 2, 1)))
    xp = array_api_compat.array_namespace(a)
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        solve(a, b, xp)
    found = solve(put(REGULAR), b, xp)
    np.testing.assert_allclose(host(xp.matmul(put(REGULAR), found)), 1)


def host(x: Any) -> Any:
    return x.get() if hasattr(x, "get") else np.asarray(x)


def test_what_is_not_finite_stays_so(cupy: ModuleType) -> None:
    """NumPy raises nothing for a right side that is not finite."""
    a, b = cupy.asarray(REGULAR), cupy.asarray(np.full((2, 2, 1), np.inf))
    found = solve(a, b, array_api_compat.array_namespace(a))
    assert not np.any(np.isfinite(host(found)[0]))


def test_singular_values(cupy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    a = cupy.asarray(REGULAR)
    xp = array_api_compat.array_namespace(a)
    u, s, vt = svd(a, xp)
    np.testing.assert_allclose(host((u * s[..., None, :]) @ vt), REGULAR, atol=1e-15)

    real = np.linalg.svd

    def endless(x: Any, **options: Any) -> Any:
        if np.any(x):
            raise np.linalg.LinAlgError
        return real(x, **options)

    monkeypatch.setattr(np.linalg, "svd", endless)
    with pytest.raises(np.linalg.LinAlgError, match="converge"):
        svd(a, xp)


@pytest.mark.parametrize("library", ["numpy", "cupy"])
def test_a_method_says_so(cupy: ModuleType, library: str) -> None:
    """A fit without its ridge, to keys that are all the same."""
    put = there(library, cupy)
    q, k, v = (put(x) for x in np.ones((3, 12, 2)))
    method = aa.FittedLinformer(rank=4, rows=6)
    object.__setattr__(method, "ridge", 0.0)
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        aa.attention(q, k, v, method)
