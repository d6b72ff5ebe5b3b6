"""Every method on the fake CuPy, forward and gradient, and whatever is built on them: the numbers
of NumPy, without a single implicit conversion.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from dense_transformer import random_model
from methods import TABLE

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn.transformer import forward, gradient, parameters, with_parameters

MANY = {"polynomial by features": (aa.Polynomial(degree=2), {"n": 300, "d": 3})}
ROWS = {row.name: (row.method, {"n": 8, "d": 4}) for row in TABLE} | MANY

CAUSAL = [
    *MANY,
    *(row.name for row in TABLE if not row.method.why_not_causal and "causal" not in row.exempt),
]
CASES = [(name, masks) for name in ROWS for masks in ("none", "key_mask")]
CASES += [(name, "causal") for name in CAUSAL]


def arrays(n: int, d: int) -> list[HostArray]:
    return list(np.random.default_rng(1).uniform(-1, 1, (4, 2, n, d)).astype("f4"))


def draw(method: Any) -> np.random.Generator | None:
    return np.random.default_rng(0) if method.randomised else None


@pytest.mark.parametrize(("name", "masks"), CASES)
def test_forward(cupy: ModuleType, name: str, masks: str) -> None:
    method, size = ROWS[name]
    q, k, v, _ = arrays(**size)
    options: dict[str, Any] = {"causal": True} if masks == "causal" else {}
    on_device = {**options}
    if masks == "key_mask":
        mask = np.arange(size["n"]) < size["n"] - 2
        options, on_device = {"key_mask": mask}, {"key_mask": cupy.asarray(mask)}
    own = aa.attention(*map(cupy.asarray, (q, k, v)), method, rng=draw(method), **on_device)
    host = aa.attention(q, k, v, method, rng=draw(method), **options)
    assert isinstance(own.value, cupy.ndarray)
    np.testing.assert_allclose(own.value.get(), host.value, atol=2e-5, rtol=2e-5)
    np.testing.assert_allclose(own.certificate.rows, host.certificate.rows, rtol=0.05, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in ROWS if hasattr(ROWS[name][0], "vjp")])
def test_gradient(cupy: ModuleType, name: str) -> None:
    method, size = ROWS[name]
    own = aa.attention_vjp(*map(cupy.asarray, arrays(**size)), method, rng=draw(method))
    host = aa.attention_vjp(*arrays(**size), method, rng=draw(method))
    for part in ("dq", "dk", "dv"):
        found = getattr(own, part)
        assert isinstance(found, cupy.ndarray)
        np.testing.assert_allclose(found.get(), getattr(host, part), atol=2e-5, rtol=2e-4)


@pytest.mark.parametrize("method", [aa.Exact(), aa.Polynomial(degree=3)], ids=str)
def test_transformer(cupy: ModuleType, method: Any) -> None:
    rng = np.random.default_rng(3)
    model = random_model(rng, norm="pre", causal=True)
    x, g = rng.standard_normal((2, 5, 4))
    there = with_parameters(
        model, {name: cupy.asarray(array) for name, array in parameters(model).items()}
    )
    found = forward(there, cupy.asarray(x), method).value.get()
    np.testing.assert_allclose(found, forward(model, x, method).value, atol=1e-12)
    own = gradient(there, cupy.asarray(x), cupy.asarray(g), method)
    host = gradient(model, x, g, method)
    np.testing.assert_allclose(own.dx.get(), host.dx, atol=1e-10)


def test_state(cupy: ModuleType) -> None:
    q, k, v, _ = arrays(40, 3)
    method = aa.Polynomial(degree=4)
    there = method.state(cupy.asarray(k), cupy.asarray(v), half_range=3.0)
    found = there.extend(cupy.asarray(k), cupy.asarray(v)).query(cupy.asarray(q))
    host = method.state(k, v, half_range=3.0).extend(k, v).query(q)
    np.testing.assert_allclose(found.value.get(), host.value, atol=1e-5)


def test_every_method_is_here() -> None:
    assert {type(method) for method, _ in ROWS.values()} >= {type(row.method) for row in TABLE}
