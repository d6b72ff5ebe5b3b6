"""Certificates of polynomials on a device: from numbers that stay there until somebody reads them,
whatever became of the arrays of the call.
"""

from __future__ import annotations

import dataclasses
import gc
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn._arrays import HostArray

N, D = 24, 30
METHODS: dict[str, Any] = {
    "minimax": aa.Polynomial(degree=2),
    "taylor": aa.Polynomial(degree=4, basis="taylor"),
    "chebyshev": aa.Polynomial(degree=3, basis="chebyshev"),
    "one-sided": aa.Polynomial(degree=2, basis="one-sided"),
    "given": aa.Polynomial(coefficients=(1, 1, 0.5)),
    "plug-in": aa.Polynomial(degree=2, gradient="plug-in"),
    "keys": aa.Polynomial(degree=2, centre="keys"),
    "none": aa.Polynomial(degree=2, centre="none"),
}
MASK = np.arange(N) % 7 != 3
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"causal": True},
    "key mask": {"key_mask": np.stack([MASK, MASK[::-1]])},
}


def tokens(dtype: str) -> list[HostArray]:
    """q, k, v and dout of two heads; the queries of one are far from 0."""
    q, k, v, g = np.random.default_rng(3).uniform(-0.5, 0.5, (4, 2, N, D))
    q[0] += 1
    return [x.astype(dtype) for x in (q, k, v, g)]


def result(method: Any, given: list[Any], options: dict[str, Any], gradient: bool) -> Any:
    call = aa.attention_vjp if gradient else aa.attention
    return call(*given[: 4 if gradient else 3], method, **options)


def bounds(certificate: Any, gradient: bool) -> list[HostArray]:
    names = ("dq", "dk", "dv") if gradient else ("rows",)
    return [getattr(certificate, name) for name in names]


def held(certificate: Any, kind: type) -> list[Any]:
    """Return the arrays of the device that a certificate not read yet holds on to."""
    seen, left, found = set(), [vars(certificate)], []
    while left:
        x = left.pop()
        if id(x) in seen or isinstance(x, FunctionType | ModuleType | type):
            continue
        seen.add(id(x))
        if isinstance(x, kind):
            found.append(x)
        else:
            left += gc.get_referents(x)
    return found


@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", METHODS)
def test_read_later(cupy: ModuleType, name: str, option: str, gradient: bool) -> None:
    method, given = METHODS[name], tokens("f4")
    options = OPTIONS[option]
    on_device = {x: cupy.asarray(y) if x == "key_mask" else y for x, y in options.items()}
    at_once = result(method, [cupy.asarray(x) for x in given], on_device, gradient)
    wanted = {
        f.name: getattr(at_once.certificate, f.name)
        for f in dataclasses.fields(at_once.certificate)
    }
    there = [cupy.asarray(x) for x in given]
    later = result(method, there, on_device, gradient)
    kept = held(later.certificate, cupy.ndarray)
    assert kept
    assert max(x.size for x in kept) < N * D
    assert sum(x.size for x in kept) <= 2 * 40 * N, "at most 40 numbers a token of each head"
    for x in there:
        x.host[...] = 77
    if "key_mask" in on_device:
        on_device["key_mask"].host[...] = True
    for field, value in wanted.items():
        np.testing.assert_equal(getattr(later.certificate, field), value)


@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_bounds_are_those_of_the_host(
    cupy: ModuleType, dtype: str, name: str, option: str, gradient: bool
) -> None:
    """dk and dv look up ln rho at the next of some levels: they may be a little larger."""
    method, given, options = METHODS[name], tokens(dtype), OPTIONS[option]
    on_device = {x: cupy.asarray(y) if x == "key_mask" else y for x, y in options.items()}
    host = result(method, given, options, gradient)
    own = result(method, [cupy.asarray(x) for x in given], on_device, gradient)
    both = (bounds(x.certificate, gradient) for x in (own, host))
    for found, wanted in zip(*both, strict=True):
        assert np.all(found >= wanted * (1 - 1e-3))
        assert np.all(found <= wanted * 1.02)
    assert own.certificate.theorem == host.certificate.theorem
    assert own.certificate.unmet == host.certificate.unmet
    facts = own.certificate.facts["queries centred"]
    assert facts == host.certificate.facts["queries centred"]
    assert facts == ("no" if name in ("keys", "none") else "1 of 2")
