"""The weights a method uses, against its own output, for every row of the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from methods import TABLE, Row, exempt_from

import approxattn as aa

LINEAR = [row for row in TABLE if not getattr(row.method, "why_not_linear", "")]
OTHERS = [row for row in TABLE if row not in LINEAR]


def draws() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.mark.parametrize("row", LINEAR, ids=str)
def test_weights_times_values_are_the_output(row: Row) -> None:
    q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 2, 40, 4))
    found = aa.weights(q, k, row.method, rng=draws())
    assert found.value.shape == (2, 40, 40)
    out = aa.attention(q, k, v, row.method, rng=draws()).value
    np.testing.assert_allclose(found.value @ v, out, rtol=0, atol=1e-10)


@pytest.mark.parametrize("row", OTHERS, ids=str)
def test_methods_without_weights_are_refused_with_a_reason(row: Row) -> None:
    q, k = np.random.default_rng(0).uniform(-1, 1, (2, 10, 4))
    with pytest.raises(ValueError, match=r"has no weights: .*(use|give)"):
        aa.weights(q, k, row.method, rng=draws())


def test_every_method_that_is_not_linear_says_so() -> None:
    silent = [row.name for row in exempt_from("linear") if row in LINEAR]
    assert not silent


def test_exact_weights_by_hand() -> None:
    q, k = np.random.default_rng(1).standard_normal((2, 3, 9, 5))
    mask = np.arange(9) != 4
    for options, seen in (({}, np.ones((9, 9))), ({"causal": True}, np.tri(9))):
        w = aa.weights(q, k, scale=0.7, key_mask=mask, **options)
        e = np.exp(0.7 * q @ np.swapaxes(k, -1, -2)) * seen * mask
        expected = e / e.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(w.value, expected, rtol=0, atol=1e-14)
        assert (np.abs(w.value - expected).max(axis=-1) <= w.certificate.rows + 1e-14).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64"])
def test_dtypes_and_other_numbers_of_keys(dtype: str) -> None:
    q, k = np.ones((3, 2), dtype), np.ones((5, 2), dtype)
    w = aa.weights(q, k).value
    assert w.dtype == (dtype if dtype.startswith("float") else "float64")
    np.testing.assert_allclose(w.astype(float), 0.2, atol=2e-4)


def test_too_many_are_refused() -> None:
    q: Any = np.zeros((2049, 2))
    with pytest.raises(ValueError, match="4198401 weights, more than 4194304"):
        aa.weights(q, q)
    with pytest.raises(ValueError, match="tokens, features"):
        aa.weights(np.zeros(3), np.zeros((3, 2)))
