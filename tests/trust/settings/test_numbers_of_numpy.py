"""Integers of NumPy are settings like any other, in every method of the table: each call is made
with numbers that nothing has been remembered for.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from methods import TABLE

import approxattn as aa

METHODS = {row.name: row.method for row in TABLE if row.every == 1}
SETTINGS = [
    (name, field.name)
    for name, method in METHODS.items()
    if dataclasses.is_dataclass(method)
    for field in dataclasses.fields(method)
    if type(getattr(method, field.name)) is int
]
COUNT = itertools.count(1)


@pytest.mark.parametrize(("name", "field"), SETTINGS)
def test_an_integer_of_numpy_gives_what_an_int_gives(name: str, field: str) -> None:
    method: Any = METHODS[name]
    other = dataclasses.replace(method, **{field: np.int64(getattr(method, field))})
    size = 1 + 2.0**-10 * next(COUNT)  # an interval of scores that was never asked for
    q, k, v = size * np.random.default_rng(0).uniform(-1, 1, (3, 6, 4))
    outputs = [
        aa.attention(q, k, v, m, rng=np.random.default_rng(1) if m.randomised else None)
        for m in (other, method)  # the remembered answer of the plain one must not help
    ]
    np.testing.assert_array_equal(*(out.value for out in outputs))
    np.testing.assert_array_equal(*(out.certificate.rows for out in outputs))


def test_degrees_and_ranges_of_functions() -> None:
    k1, k2, v = np.random.default_rng(2).uniform(-1.003, 1.003, (3, 6, 3))
    for basis in ("minimax", "chebyshev", "taylor"):
        method = aa.Polynomial(degree=np.int64(4), basis=basis)
        state = method.state(k1, v, half_range=np.float32(1.37))
        assert (
            state.polynomial
            == aa.Polynomial(degree=4, basis=basis)
            .state(k1, v, half_range=float(np.float32(1.37)))
            .polynomial
        )
        out = aa.tensor_attention(k1, k1, k2, v, v, degree=np.int16(4), basis=basis)
        assert np.isfinite(out.value).all()
