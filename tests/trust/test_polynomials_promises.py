"""`tolerance=` speaks of each column of the values: it is kept in every one, or the certificate
says that it is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dense_attention import EXTENDED, exact

import approxattn as aa
from approxattn._arrays import HostArray

METHODS: dict[str, Any] = {
    "full": aa.Polynomial(tolerance=1e-3, fallback=False),
    "taylor": aa.Polynomial(tolerance=1e-2, basis="taylor", fallback=False),
    "anisotropic": aa.Polynomial(tolerance=1e-2, index="anisotropic", fallback=False),
    "fallback": aa.Polynomial(tolerance=1e-4),
}


def kept(value: HostArray, arrays: list[HostArray], scale: float, tolerance: float) -> bool:
    """Return whether every column of the output is within the tolerance of its own range."""
    v = arrays[2].astype(EXTENDED)
    error = np.abs(value.astype(EXTENDED) - exact(*arrays, scale)).max(axis=0)
    return bool(np.all(error <= tolerance * (v.max(axis=0) - v.min(axis=0)) * (1 + 1e-9)))


def columns(rng: np.random.Generator, n: int, dtype: str) -> HostArray:
    """Draw columns of unequal size and spread, constant and vanishing ones among them."""
    shape = (n, int(rng.integers(1, 4)))
    spread = 10.0 ** rng.integers(-8, 4, shape[1]) * (rng.random(shape[1]) > 0.1)
    offset = 10.0 ** rng.integers(-4, 7, shape[1]) * (rng.random(shape[1]) < 0.5)
    with np.errstate(over="ignore"):
        return (offset + spread * rng.uniform(-1, 1, shape)).astype(dtype)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_no_column_misses_its_tolerance_in_silence(name: str, dtype: str) -> None:
    rng, method, seen = np.random.default_rng(7), METHODS[name], {True: 0, False: 0}
    for _ in range(40):
        n, d = int(rng.integers(2, 60)), int(rng.integers(1, 4))
        q, k = (rng.uniform(-1, 1, (n, d)).astype(dtype) for _ in range(2))
        v = columns(rng, n, dtype)
        if not np.isfinite(v).all():
            continue
        try:
            out = aa.attention(q, k, v, method, scale=0.5)
        except ValueError:
            continue
        silent = not out.certificate.unmet
        seen[silent] += 1
        assert not silent or kept(out.value, [q, k, v], 0.5, method.tolerance)
    assert seen[False], "nothing was ever missed"
    assert seen[True] or dtype == "float16", "nothing was ever kept"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 5])
def test_columns_of_one_kind_raise_no_false_alarm(dtype: str, width: int) -> None:
    rng = np.random.default_rng(1)
    q, k = rng.uniform(-1, 1, (2, 80, 3)).astype(dtype)
    v = (rng.uniform(-1, 1, (80, width)) * np.linspace(1, 100, width)).astype(dtype)
    v = np.concatenate([v, np.zeros((80, 1), dtype)], axis=1)
    for name in ("full", "taylor"):
        assert aa.attention(q, k, v, METHODS[name]).certificate.unmet == ()


def test_a_narrow_column_beside_a_wide_one_is_confessed() -> None:
    rng = np.random.default_rng(0)
    q, k = rng.uniform(-1, 1, (2, 200, 4)).astype("f")
    v = np.stack([rng.uniform(-1e3, 1e3, 200), 1e3 + 1e-2 * rng.uniform(-1, 1, 200)], 1)
    out = aa.attention(q, k, v.astype("f"), aa.Polynomial(tolerance=1e-3))
    assert "the tolerance is not certified" in out.certificate.unmet[0]


def test_a_state_keeps_each_column_or_says_so() -> None:
    rng, seen = np.random.default_rng(4), set()
    method = aa.Polynomial(tolerance=1e-3)
    for _ in range(40):
        q, k = rng.uniform(-1, 1, (2, 30, 3))
        v = columns(rng, 30, "float64")
        out = method.state(k, v, half_range=2.0).query(q)
        seen.add(silent := not out.certificate.unmet)
        assert not silent or kept(out.value, [q, k, v], 1 / np.sqrt(3), 1e-3)
    assert seen == {True, False}
