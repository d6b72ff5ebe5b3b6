"""Whatever the caller's `numpy.seterr` and warnings filters say: same bits, and no warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from methods import TABLE, Row

import approxattn as aa
from approxattn._problem import quietly
from approxattn.methods.protocol import Differentiable

SCALES = {
    "ordinary": (1.0, 1.0, 1.0),
    "tiny": (1e-20, 1e-18, 1e-30),
    "huge values": (1.0, 1.0, 1e30),
    "large scores": (30.0, 10.0, 1.0),
    "apart": (1e15, 1e-15, 1e-10),
}


def problem(dtype: str, sizes: tuple[float, float, float]) -> tuple[Any, ...]:
    rng = np.random.default_rng(9)
    q, k, v, g = rng.uniform(-1, 1, (4, 2, 17, 3))
    return tuple(
        (x * size).astype(dtype) for x, size in zip((q, k, v, g), (*sizes, 1.0), strict=True)
    )


def strictly(call: Callable[[], Any]) -> Any:
    """Call under the strictest settings of a caller; a refusal is an answer too."""
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        return plainly(call)


def plainly(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ValueError as error:
        assert ": " in str(error), f"not a refusal of ours: {error}"  # noqa: PT017
        return None


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("size", SCALES)
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_forward(row: Row, size: str, dtype: str) -> None:
    if dtype == "float16" and size not in ("ordinary", "large scores"):
        return
    q, k, v, _ = problem(dtype, SCALES[size])

    def call() -> aa.Approximation:
        rng = np.random.default_rng(5) if row.method.randomised else None
        return aa.attention(q, k, v, row.method, rng=rng)

    ours, plain = strictly(call), plainly(call)
    assert (ours is None) == (plain is None)
    if ours is not None:
        np.testing.assert_array_equal(ours.value, plain.value)
        np.testing.assert_array_equal(ours.certificate.rows, plain.certificate.rows)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", SCALES)
@pytest.mark.parametrize(
    "row", [row for row in TABLE if isinstance(row.method, Differentiable)], ids=str
)
def test_gradient(row: Row, size: str, dtype: str) -> None:
    q, k, v, g = problem(dtype, SCALES[size])

    def call() -> aa.Gradients:
        rng = np.random.default_rng(5) if row.method.randomised else None
        return aa.attention_vjp(q, k, v, g, row.method, rng=rng)

    ours, plain = strictly(call), plainly(call)
    assert (ours is None) == (plain is None)
    if ours is not None:
        for name in ("dq", "dk", "dv"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(plain, name))


@pytest.mark.parametrize("size", SCALES)
def test_audit_and_diagnose(size: str) -> None:
    q, k, v, g = problem("float32", SCALES[size])
    strictly(lambda: aa.audit(g, q, k, v, rows=9, rng=np.random.default_rng(0)))
    strictly(lambda: str(aa.diagnose(q, k, v, compare_methods=True)))


def test_a_cast_that_overflows_is_quiet() -> None:
    q, k, v = (np.full((3, 2), x, np.float16) for x in (1.0, 1.0, 6e4))
    out = strictly(
        lambda: aa.attention(
            q, k, v, aa.Linformer(rank=2, sketch="row-sample"), rng=np.random.default_rng(0)
        )
    )
    assert out.value.dtype == np.float16


def test_the_callers_settings_come_back() -> None:
    @quietly
    def fail() -> None:
        assert set(np.geterr().values()) == {"ignore"}
        raise KeyError

    with np.errstate(over="raise", invalid="print"):
        before = np.geterr()
        with pytest.raises(KeyError):
            fail()
        assert np.geterr() == before
