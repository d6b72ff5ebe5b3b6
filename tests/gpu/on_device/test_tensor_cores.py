"""Tensor cores of a GPU: what bounds assume of them, and sums in TF32 inside their certificates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import array_api_compat
import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays import cuda, precision
from approxattn._arrays.cuda import probe
from approxattn._arrays.cuda.launch import SWITCH
from approxattn.monomials.device.tensor_cores import serves
from approxattn.monomials.kernel import Kernel, sum_roundings

pytestmark = pytest.mark.gpu


@pytest.fixture
def tf32(gpu: Any) -> Iterator[Any]:
    """CuPy with products of float32 in TF32: it reads CUPY_TF32 once, so it is told directly."""
    from cupy._core import _routines_linalg as linalg

    before = linalg.get_compute_type(np.float32)
    linalg.set_compute_type(np.float32, linalg.COMPUTE_TYPE_TF32)
    yield gpu
    linalg.set_compute_type(np.float32, before)


@pytest.mark.parametrize("exact", [False, True], ids=["any factors", "factors of 11 bits"])
def test_a_product_is_as_exact_as_assumed(gpu: Any, exact: bool) -> None:
    factors, like = probe.cases(exact=exact), gpu.zeros(1, dtype="f4")
    found = probe._products(like, *factors)
    most = float(np.max(probe.excess(*factors, found, exact=exact)))
    print(f"the largest error is {most:.2f} of what is assumed")
    assert most <= 1
    assert cuda.tensor_cores_hold(like)


@pytest.mark.parametrize(
    ("n", "d", "degree"), [(1025, 16, 3), (3000, 32, 2), (9000, 64, 2), (3000, 128, 2)]
)
def test_three_products_are_as_exact_as_float32(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, n: int, d: int, degree: int
) -> None:
    rng = np.random.default_rng(0)
    x, y, v = (rng.uniform(-0.3, 0.3, (2, n, c)).astype("f4") for c in (d, d, d + 1))
    there = [gpu.asarray(a) for a in (x, y, v)]
    xp = array_api_compat.array_namespace(there[0])
    taylor = tuple(1 / math.factorial(t) for t in range(degree + 1))
    kernel = Kernel(coefficients=taylor, causal=False, kind="features", xp=xp)
    limit = sum_roundings("features", n, d, degree, causal=False)
    assert serves(d, degree, d + 1, n, limit, *there)
    scores = x.astype("f8") @ y.astype("f8").swapaxes(-1, -2)
    exact = np.polynomial.polynomial.polyval(scores, taylor) @ v.astype("f8")
    found = [kernel.sums(*there).get() for _ in range(2)]
    np.testing.assert_array_equal(*found)
    monkeypatch.setenv(SWITCH, probe.NO_TENSOR_CORES)
    errors = [np.max(np.abs(value - exact)) for value in (found[0], kernel.sums(*there).get())]
    assert errors[0] <= 4 * errors[1]


@pytest.mark.parametrize(
    ("n", "d", "degree"), [(1, 3, 2), (1025, 7, 2), (3000, 16, 3), (3000, 64, 2), (2000, 128, 2)]
)
def test_certificates_hold_in_tf32(tf32: Any, n: int, d: int, degree: int) -> None:
    q, k, v = np.random.default_rng(0).uniform(-0.3, 0.3, (3, 2, n, d)).astype("f4")
    there = [tf32.asarray(a) for a in (q, k, v)]
    assert isinstance(precision.unit_roundoff(there[0]), precision.Roundoff)
    own = aa.attention(*there, aa.Polynomial(degree=degree))
    again = aa.attention(*there, aa.Polynomial(degree=degree))
    np.testing.assert_array_equal(own.value.get(), again.value.get())
    wide = [a.astype(np.float64) for a in (q, k, v)]
    exact = aa.attention(*wide, aa.Exact()).value
    error = np.max(np.abs(own.value.get() - exact), axis=-1)
    assert np.all(error <= own.certificate.rows)
    same = aa.attention(*wide, aa.Polynomial(degree=degree)).value
    assert np.max(np.abs(own.value.get() - same)) < 1e-2 * np.max(np.abs(v))
