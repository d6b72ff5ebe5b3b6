"""Tensor cores of a GPU: what bounds assume of them, and sums in TF32 inside their certificates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays import cuda, precision
from approxattn._arrays.cuda import probe

pytestmark = pytest.mark.gpu


@pytest.fixture
def tf32(gpu: Any) -> Iterator[Any]:
    """CuPy with products of float32 in TF32: it reads CUPY_TF32 once, so it is told directly."""
    from cupy._core import _routines_linalg as linalg

    before = linalg.get_compute_type(np.float32)
    linalg.set_compute_type(np.float32, linalg.COMPUTE_TYPE_TF32)
    yield gpu
    linalg.set_compute_type(np.float32, before)


def test_a_product_is_as_exact_as_assumed(gpu: Any) -> None:
    a, b, c = probe.cases()
    like = gpu.zeros(1, dtype="f4")
    if not cuda.tensor_cores_hold(like):
        most = float(np.max(probe.excess(a, b, c, probe._products(like, a, b, c))))
        pytest.fail(f"the largest error is {most:.2f} of what is assumed")


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
