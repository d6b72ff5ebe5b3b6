"""What JAX keeps beside its arrays: 64-bit numbers, off by default, and how exact products are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import Case, suits
from methods import TABLE, Row
from oracle import enclose, row_errors

import approxattn as aa
from approxattn import _arrays
from approxattn._arrays import precision

jax = pytest.importorskip("jax")


def case() -> Case:
    q, k, v = np.random.default_rng(0).standard_normal((3, 6, 3))
    return Case(name="plain", q=q, k=k, v=v).astype("float32")


SOON = ("exact", "taylor-4", "mean-pool-3", "nystrom-3", "yoso-expectation")
FINITE = [
    pytest.param(row, marks=() if row.name in SOON else pytest.mark.long)  # JAX compiles each step
    for row in TABLE
    if np.isfinite(row.slack) and row.every == 1
]


@pytest.mark.filterwarnings("error")  # JAX warns where it gives another dtype
@pytest.mark.parametrize("row", FINITE, ids=str)
def test_error_within_certificate_without_64_bits(row: Row) -> None:
    problem = case()
    assert suits(row, problem)
    with jax.enable_x64(False):
        given = [jax.numpy.asarray(x) for x in (problem.q, problem.k, problem.v)]
        rng = np.random.default_rng(5) if row.method.randomised else None
        out = aa.attention(*given, row.method, rng=rng)
        assert str(out.value.dtype) == "float32"
        assert not jax.config.jax_enable_x64
    errors = row_errors(np.asarray(out.value), enclose(row, problem))
    assert (errors <= out.certificate.rows).all()


def test_the_rest_of_the_calls_without_64_bits() -> None:
    problem = case()
    with jax.enable_x64(False):
        q, k, v = (jax.numpy.asarray(x) for x in (problem.q, problem.k, problem.v))
        out = aa.attention(q, k, v, aa.Exact())
        report = aa.audit(out.value, q, k, v, rows=5, rng=np.random.default_rng(0))
        assert report.largest <= 2 * out.certificate.bound
        grads = aa.attention_vjp(q, k, v, v, aa.YosoExpectation(bits=3))
        assert str(grads.dq.dtype) == "float32"
        whole = aa.attention(*(jax.numpy.asarray(x.astype(int)) for x in (q, k, v)), aa.Exact())
        assert str(whole.value.dtype) == "float64"  # as for integers of any library


def test_a_dtype_that_is_not_given_is_noticed() -> None:
    with jax.enable_x64(False):
        x = jax.numpy.ones((3, 2))
        xp = _arrays.namespace(x=x)
        with (
            pytest.warns(UserWarning, match="float64"),
            pytest.raises(TypeError, match="enable_x64"),
        ):
            _arrays.cast(x, "float64", xp)
        with pytest.raises(TypeError, match="made float32 of an array wanted in float64"):
            _arrays.from_host(np.ones(3), x)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [(None, 2.0**-24), ("highest", 2.0**-24), ("tensorfloat32", 2.0**-9), ("bfloat16", 2.0**-6)],
)
def test_the_precision_of_products_is_in_the_certificate(
    setting: str | None, expected: float
) -> None:
    problem = case()
    given = [jax.numpy.asarray(x) for x in (problem.q, problem.k, problem.v)]
    with jax.default_matmul_precision(setting):
        out = aa.attention(*given, aa.Exact())
        inside: Any = out.certificate.facts["unit roundoff"]
        assert expected <= inside <= 1.02 * expected
        assert jax.config.jax_default_matmul_precision == setting
    rows = [aa.attention(*given, aa.Exact()).certificate.rows, out.certificate.rows]
    assert (rows[0] <= rows[1]).all()


def test_a_gpu_of_which_nobody_chose_the_precision_multiplies_in_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There JAX would take TF32; inside a call it is told not to."""
    monkeypatch.setattr(precision, "_platform", lambda _array: "gpu")
    x = jax.numpy.ones((3, 2), dtype="float32")
    assert precision.float32_products(x) == "tf32"
    assert aa.attention(x, x, x, aa.Exact()).certificate.facts["unit roundoff"] == 2.0**-24
    with jax.default_matmul_precision("default"):
        assert aa.attention(x, x, x, aa.Exact()).certificate.facts["unit roundoff"] > 2.0**-10
