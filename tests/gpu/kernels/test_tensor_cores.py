"""Sums on tensor cores, emulated from the PTX manual's layout: inside the bounds for TF32, and used
only where the user lets float32 products be made in TF32.
"""

from __future__ import annotations

import itertools
import math
from types import ModuleType
from typing import Any

import array_api_compat
import numpy as np
import pytest
from cuda_shim import ORDERS, KernelFault
from fake_cupy import TRAFFIC
from fake_cupy.raw import SETTINGS

import approxattn as aa
from approxattn._arrays import HostArray, cuda, precision
from approxattn._arrays.cuda import launch, probe
from approxattn.bounds.rounding import gamma
from approxattn.monomials.device import tensor_cores
from approxattn.monomials.index import rank
from approxattn.monomials.kernel import Kernel, sum_roundings

SHAPES = [(3, 2, 100, 4), (16, 2, 300, 17), (5, 3, 70, 2), (1, 4, 1, 1)]
"""d, degree, tokens, columns."""

USED = "monomials/device/tensor_cores"


@pytest.fixture
def tf32(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The fake CuPy, told to multiply in TF32; its own products stay exact."""
    monkeypatch.setenv("CUPY_TF32", "1")
    return kernels


def problem(d: int, n: int, m: int, seed: int = 0) -> list[HostArray]:
    rng = np.random.default_rng(seed)
    size = 2.0 ** rng.integers(-3, 2)
    arrays = [rng.uniform(-size, size, (2, n, c)).astype("f4") for c in (d, d, m)]
    if seed % 2:  # cancellation: values of both signs on equal keys
        arrays[1][:] = arrays[1][:, :1]
    return arrays


def taylor(degree: int) -> tuple[float, ...]:
    return tuple(1 / math.factorial(t) for t in range(degree + 1))


def both(coefficients: tuple[float, ...], x: HostArray, y: HostArray, v: HostArray) -> Any:
    """Return the sums in float64, and the sums of the bounds on the sizes of terms of `kernel`."""
    x, y, v = (a.astype(np.float64) for a in (x, y, v))
    scores = x @ y.swapaxes(-1, -2)
    lengths = [np.linalg.norm(a, axis=-1) for a in (x, y)]
    sizes = lengths[0][..., :, None] * lengths[1][..., None, :]
    value, size = (np.polynomial.polynomial.polyval(s, coefficients) for s in (scores, sizes))
    return value @ v, size @ np.abs(v)


def sums(cupy: ModuleType, degree: int, *arrays: HostArray) -> tuple[Kernel, list[Any]]:
    there = [cupy.asarray(a) for a in arrays]
    xp = array_api_compat.array_namespace(there[0])
    kernel = Kernel(coefficients=taylor(degree), causal=False, kind="features", xp=xp)
    return kernel, there


@pytest.mark.parametrize(("d", "degree", "n", "m"), SHAPES)
def test_inside_the_bounds(
    tf32: ModuleType, order: str, d: int, degree: int, n: int, m: int
) -> None:
    for seed in range(3):
        arrays = problem(d, n, m, seed)
        kernel, there = sums(tf32, degree, *arrays)
        TRAFFIC.clear()
        found, parts, _ = kernel.sums_with_parts(*there, (1, 2))
        assert any(USED in place for place in TRAFFIC.launches)
        u = precision.unit_roundoff(there[0])
        k = sum_roundings("features", n, d, degree, causal=False)
        value, size = both(taylor(degree), *arrays)
        error = np.abs(found.get() - value)
        assert np.all(error <= gamma(k, u) * size), (order, seed)
        assert np.all(error <= 2.0**-9 * size)  # and not by luck: two roundings to TF32
        for place, t in enumerate((1, 2)):
            own = (*(0.0,) * t, 1 / math.factorial(t))
            value, size = both(own, *arrays[:2], arrays[2][..., -1:])
            assert np.all(np.abs(parts.get()[..., [place]] - value) <= gamma(k, u) * size)


def test_certificates_know_of_it(tf32: ModuleType) -> None:
    q, k, v = np.random.default_rng(0).uniform(-0.2, 0.2, (3, 2, 40, 2)).astype("f4")
    v = v * 5
    wide = [a.astype("f8") for a in (q, k, v)]
    TRAFFIC.clear()
    own = aa.attention(*map(tf32.asarray, (q, k, v)), aa.Polynomial(degree=4))
    assert any(USED in place for place in TRAFFIC.launches)
    error = np.max(np.abs(own.value.get() - aa.attention(*wide, aa.Exact()).value), axis=-1)
    fine = aa.attention(q, k, v, aa.Polynomial(degree=4)).certificate.rows
    assert np.any(error > fine)  # float32's certificate would be false
    assert np.all(error <= own.certificate.rows)


@pytest.mark.parametrize("why", ["float32", "causal", "degree", "columns", "float64", "core"])
def test_the_general_way_elsewhere(
    tf32: ModuleType, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "float32":
        monkeypatch.setenv("CUPY_TF32", "0")
    if why == "core":
        monkeypatch.setattr(cuda, "tensor_cores_hold", lambda _: False)
    m = 137 if why == "columns" else 3
    degree = 1 if why == "degree" else 2
    dtype = "f8" if why == "float64" else "f4"
    arrays = [a.astype(dtype) for a in problem(3, 40, m)]
    kernel, there = sums(tf32, degree, *arrays)
    if why == "causal":
        kernel = Kernel(coefficients=taylor(2), causal=True, kind="features", xp=kernel.xp)
    TRAFFIC.clear()
    kernel.sums(*there)
    assert not any(USED in place for place in TRAFFIC.launches)


# --- the items ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "degree"), [(1, 2), (3, 2), (16, 2), (4, 3), (2, 5), (9, 4)])
def test_items_hold_every_monomial_once(d: int, degree: int) -> None:
    found = tensor_cores.table(d, degree)
    assert np.count_nonzero(found.own) == rank(d, degree)
    assert len({tuple(row) for row in found.factors[found.own]}) == rank(d, degree)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, d + 1))
    x[0] = y[0] = 1
    weight = tensor_cores.item_weights(taylor(degree), d)
    monomials = [np.prod(z[found.factors], axis=1) for z in (x, y)]
    p = np.polynomial.polynomial.polyval(x[1:] @ y[1:], taylor(degree))
    np.testing.assert_allclose(np.sum(weight * monomials[0] * monomials[1]), p, rtol=1e-12)


@pytest.mark.parametrize("degree", tensor_cores.DEGREES)
def test_reading_takes_no_more_steps_than_are_counted(degree: int) -> None:
    for d in (1, 2, 3, 5, 8, 16, 33, 64, 128):
        if rank(d, degree) < 20_000:
            assert 2 * tensor_cores.table(d, degree).items <= rank(d, degree) + 4


# --- the probe ------------------------------------------------------------------------------------


def test_the_probe_knows_a_right_core(tf32: ModuleType) -> None:
    probe._holds.cache_clear()
    assert cuda.tensor_cores_hold(tf32.asarray(np.ones(1, "f4")))


def wrong(name: str, a: HostArray, b: HostArray, c: HostArray) -> HostArray:
    """Return what a core would give that is worse than assumed."""
    if name == "factors of bfloat16":
        a, b = ((x.view(np.uint32) & 0xFFFF0000).view("f4") for x in (a, b))
    found = c + a.astype("f8") @ b
    if name == "an accumulator of 16 bits":
        return np.asarray(found.astype(np.float16), float)
    if name == "a product left out":
        found = found - a[..., :1].astype("f8") * b[:, :1, :]
    if name == "an accumulator of 20 bits":
        found = np.ldexp(np.round(np.ldexp(np.frexp(found)[0], 18)), np.frexp(found)[1] - 18)
    return np.asarray(found)


@pytest.mark.parametrize(
    "name",
    [
        "factors of bfloat16",
        "an accumulator of 16 bits",
        "an accumulator of 20 bits",
        "a product left out",
    ],
)
def test_the_probe_knows_a_wrong_core(
    tf32: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    probe._holds.cache_clear()
    with np.errstate(over="ignore"):
        monkeypatch.setattr(probe, "_products", lambda _, *x: wrong(name, *x))
        assert not cuda.tensor_cores_hold(tf32.asarray(np.ones(1, "f4")))
    probe._holds.cache_clear()


# --- planted faults -------------------------------------------------------------------------------

FAULTS = {
    "no barrier before a stage": (
        "__syncthreads();                                            //",
        "//",
    ),
    "no barrier after loading": (
        "values[token * M + e % N] : 0.f;\n        }\n        __syncthreads();",
        "values[token * M + e % N] : 0.f;\n        }",
    ),
    "no barrier before the state": (
        "base += STAGE_ITEMS) {\n        __syncthreads();",
        "base += STAGE_ITEMS) {",
    ),
    "no barrier after the state": (
        "e] : 0.f;\n        __syncthreads();\n        #pragma unroll 1\n        for (int i",
        "e] : 0.f;\n        for (int i",
    ),
    "no bound on tokens": ("token < last ? x[", "true ? x["),
    "no bound on columns": ("token < last && e % N < M", "token < last"),
    "no bound on items": ("if (own + i >= items) continue;", ""),
    "no bound on queries": ("if (token < n && column < M)", "if (column < M)"),
    "no bound on the state": ("base + e / (16 * N) < items ? state", "true ? state"),
    "a wrong row of A": ("16 + g + 8 * h)", "16 + g + 4 * h)"),
    "a wrong row of B": ("held[(at + t + 4 * q)", "held[(at + t + 2 * q)"),
    "a wrong column of C": ("8 * j + 2 * t + q % 2;", "8 * j + t + q % 2;"),
    "halves the wrong way round": (
        "parent[m][half][0] * low, parent[m][half][1] * high",
        "parent[m][half][0] * high, parent[m][half][1] * low",
    ),
    "one lane skips a product": (
        "product(sums[i][j], left, right[j])",
        "if (lane || at) product(sums[i][j], left, right[j])",
    ),
    "parents of the item before": ("if (fresh >> i & 1)", "if (!i)"),
    "the constant not written": (
        "STAGE_TOKENS; e += THREADS) tokens[e] = 1.f;",
        "STAGE_TOKENS; e += THREADS) tokens[e] = 0.f;",
    ),
}


SMALL = [(4, 3, 70, 3), (17, 2, 300, 9)]
"""Problems that show a fault, the cheaper first."""


def one(cupy: ModuleType, d: int, degree: int, n: int, m: int) -> HostArray:
    kernel, there = sums(cupy, degree, *(a[:1] for a in problem(d, n, m)))
    return np.asarray(kernel.sums(*there).get())


QUICK = ("no barrier before a stage", "no bound on queries", "a wrong row of A", "one lane")
CASES = [
    pytest.param(fault, marks=() if fault.startswith(QUICK) else pytest.mark.long)
    for fault in FAULTS
]


@pytest.mark.parametrize("fault", CASES)
def test_a_planted_fault_is_found(
    tf32: ModuleType, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    cuda.tensor_cores_hold(tf32.asarray(np.ones(1, "f4")))  # by the right source
    right, code = [one(tf32, *small) for small in SMALL], launch.code_of
    assert code("tensor_cores").count(FAULTS[fault][0]) == 1, "plant it anew"

    def planted(source: str) -> str:
        text = code(source)
        return text.replace(*FAULTS[fault]) if source == "tensor_cores" else text

    monkeypatch.setattr(launch, "code_of", planted)
    launch._compiled.cache_clear()
    for (small, wanted), which in itertools.product(zip(SMALL, right, strict=True), ORDERS):
        monkeypatch.setitem(SETTINGS, "order", which)
        try:
            found = one(tf32, *small)
        except KernelFault:
            break
        if not np.array_equal(found, wanted):
            break
    else:
        pytest.fail("no order finds it")
    launch._compiled.cache_clear()
