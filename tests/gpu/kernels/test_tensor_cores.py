"""Sums on tensor cores, emulated from the PTX manual's layout: inside the bounds for TF32 where the
user lets float32 products be made in it, and inside those of float32 everywhere else.
"""

from __future__ import annotations

import functools
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
from approxattn.monomials.device import items, tensor_cores
from approxattn.monomials.device.tensor_cores import three_roundings
from approxattn.monomials.index import rank
from approxattn.monomials.kernel import Kernel, sum_roundings

SHAPES = [(3, 2, 100, 4), (16, 2, 140, 17), (5, 3, 70, 2), (1, 4, 1, 1)]
"""d, degree, tokens, columns."""

FULL = 2.0**-24

USED = "monomials/device/tensor_cores"


@pytest.fixture
def tf32(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The fake CuPy, told to multiply in TF32; its own products stay exact."""
    monkeypatch.setenv("CUPY_TF32", "1")
    return kernels


@pytest.fixture(params=[1, 3])
def passes(
    request: pytest.FixtureRequest, kernels: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> int:
    """How many products stand for one of float32."""
    assert kernels
    monkeypatch.setenv("CUPY_TF32", str(int(request.param == 1)))
    return int(request.param)


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
    kernels: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    passes: int,
    order: str,
    d: int,
    degree: int,
    n: int,
    m: int,
) -> None:
    if passes == 3:  # in small problems K counts too little
        monkeypatch.setattr(tensor_cores, "three_roundings", lambda *_: 0)
    monkeypatch.setattr(tensor_cores, "block_length", lambda *_: 64)  # several, and a rest
    for seed in (0, 1) if order == "in step" else (1,):
        arrays = problem(d, n, m, seed)
        kernel, there = sums(kernels, degree, *arrays)
        TRAFFIC.clear()
        found, parts, _ = kernel.sums_with_parts(*there, (1, 2))
        assert any(USED in place for place in TRAFFIC.launches)
        bound = gamma(three_roundings(d, degree, n, slack=1), FULL)
        if passes == 1:
            k = sum_roundings("features", n, d, degree, causal=False)
            # and not by luck: two roundings to TF32
            bound = min(gamma(k, precision.unit_roundoff(there[0])), 2.0**-9)
        value, size = both(taylor(degree), *arrays)
        assert np.all(np.abs(found.get() - value) <= bound * size), (order, seed)
        for place, t in enumerate((1, 2)):
            own = (*(0.0,) * t, 1 / math.factorial(t))
            value, size = both(own, *arrays[:2], arrays[2][..., -1:])
            assert np.all(np.abs(parts.get()[..., [place]] - value) <= bound * size)


@pytest.mark.parametrize(
    ("d", "degree", "keys", "served"),
    [(64, 2, 1, True), (16, 4, 1, True), (8, 3, 600, True), (8, 3, 100, False), (3, 2, 9, False)],
)
def test_three_products_are_used_where_float32_says_as_much(
    kernels: ModuleType, d: int, degree: int, keys: int, served: bool
) -> None:
    like = kernels.asarray(np.ones(1, "f4"))
    limit = sum_roundings("features", keys, d, degree, causal=False)
    assert tensor_cores.serves(d, degree, 3, keys, limit, like) == served
    assert (three_roundings(d, degree, keys) <= limit) == served
    assert three_roundings(d, degree, keys, slack=1) < three_roundings(d, degree, keys)


def test_float32_keeps_its_certificate(kernels: ModuleType) -> None:
    q, k, v = np.random.default_rng(0).uniform(-0.2, 0.2, (3, 600, 8)).astype("f4")
    wide = [a.astype("f8") for a in (q, k, v)]
    method = aa.Polynomial(degree=3)
    TRAFFIC.clear()
    own = aa.attention(*map(kernels.asarray, (q, k, v)), method)
    assert any(USED in place for place in TRAFFIC.launches)
    same = aa.attention(q, k, v, method)
    np.testing.assert_allclose(own.certificate.rows, same.certificate.rows, rtol=1e-5)
    exact = aa.attention(*wide, method).value
    error, host = (np.max(np.abs(x - exact)) for x in (own.value.get(), same.value))
    assert error <= 4 * host  # what NumPy loses in float32
    wrong = np.max(np.abs(own.value.get() - aa.attention(*wide, aa.Exact()).value), axis=-1)
    assert np.all(wrong <= own.certificate.rows)


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


@pytest.mark.parametrize(
    "why", ["float32", "causal", "degree", "columns", "float64", "core", "switch"]
)
def test_the_general_way_elsewhere(
    tf32: ModuleType, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "float32":  # K of so few monomials is smaller
        monkeypatch.setenv("CUPY_TF32", "0")
    if why == "switch":
        monkeypatch.setenv(launch.SWITCH, probe.NO_TENSOR_CORES)
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
    found = items.table(d, degree)
    assert np.count_nonzero(found.own) == rank(d, degree)
    assert len({tuple(row) for row in found.factors[found.own]}) == rank(d, degree)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, d + 1))
    x[0] = y[0] = 1
    weight = items.item_weights(taylor(degree), d)
    monomials = [np.prod(z[found.factors], axis=1) for z in (x, y)]
    p = np.polynomial.polynomial.polyval(x[1:] @ y[1:], taylor(degree))
    np.testing.assert_allclose(np.sum(weight * monomials[0] * monomials[1]), p, rtol=1e-12)


@pytest.mark.parametrize("degree", tensor_cores.DEGREES)
def test_reading_takes_no_more_steps_than_are_counted(degree: int) -> None:
    for d in (1, 2, 3, 5, 8, 16, 33, 64, 128):
        if rank(d, degree) < 20_000:
            assert 2 * items.table(d, degree).items <= rank(d, degree) + 4


# --- the probe ------------------------------------------------------------------------------------


def test_the_probe_knows_a_right_core(tf32: ModuleType) -> None:
    probe._holds.cache_clear()
    assert cuda.tensor_cores_hold(tf32.asarray(np.ones(1, "f4")))


def wrong(name: str, a: HostArray, b: HostArray, c: HostArray) -> HostArray:
    """Return what a core would give that is worse than assumed."""
    if name.startswith("factors"):
        kept = {"factors of bfloat16": 0xFFFF0000, "factors of 9 bits": 0xFFFF8000}[name]
        a, b = ((x.view(np.uint32) & np.uint32(kept)).view("f4") for x in (a, b))
    found = c + a.astype("f8") @ b
    size = np.abs(c) + np.abs(a).astype("f8") @ np.abs(b)
    if name == "an accumulator of 16 bits":
        return np.asarray(found.astype(np.float16), float)
    if name == "a product left out":
        found = found - a[..., :1].astype("f8") * b[:, :1, :]
    if name == "an accumulator of 20 bits":
        found = np.ldexp(np.round(np.ldexp(np.frexp(found)[0], 18)), np.frexp(found)[1] - 18)
    if name == "terms cut off at 20 bits":
        found = found - size * 2.0**-19
    return np.asarray(found)


@pytest.mark.parametrize(
    "name",
    [
        "factors of bfloat16",
        "factors of 9 bits",
        "an accumulator of 16 bits",
        "terms cut off at 20 bits",
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
        "values[token * m + e % N] : 0.f;\n        }\n        __syncthreads();",
        "values[token * m + e % N] : 0.f;\n        }",
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
    "no bound on columns": ("token < last && e % N < m", "token < last"),
    "no bound on items": ("if (own + i >= items) continue;", ""),
    "no bound on queries": ("if (token < n && column < m)", "if (column < m)"),
    "no bound on the state": ("base + e / (16 * N) < items ? state", "true ? state"),
    "a wrong row of A": ("16 + g + 8 * h)", "16 + g + 4 * h)"),
    "a wrong row of B": ("held[(at + t + 4 * q)", "held[(at + t + 2 * q)"),
    "a wrong column of C": ("8 * j + 2 * t + q % 2;", "8 * j + t + q % 2;"),
    "halves the wrong way round": (
        "parent[u][half][0] * low, parent[u][half][1] * high",
        "parent[u][half][0] * high, parent[u][half][1] * low",
    ),
    "one lane skips a product": (
        "products(sums[i], left, right)",
        "if (lane || at) products(sums[i], left, right)",
    ),
    "parents of the item before": ("if (fresh >> i & 1)", "if (!i)"),
    "the constant not written": (
        "STAGE_TOKENS; e += THREADS) tokens[e] = 1.f;",
        "STAGE_TOKENS; e += THREADS) tokens[e] = 0.f;",
    ),
}


PRODUCT_FAULTS = {
    "the rest of a value left out": ("if (pass == 1) r[q]", "if (pass == 4) r[q]"),
    "the rest of a monomial left out": ("pass ? p : rest", "p"),
    "a rest that is not exact": ("+ 0x1000u) & 0xffffe000u", "+ 0x1000u) & 0xfffe0000u"),
    "columns side by side mixed up": ("c[first + j][q] += sum[j][q]", "c[j][q] += sum[j][q]"),
}
"""In what three products do."""


def test_faults_of_three_products_are_found(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, (d, degree, n, m) = launch.code_of, (3, 2, 40, 25)
    monkeypatch.setattr(tensor_cores, "three_roundings", lambda *_: 0)
    arrays = [a[:1] for a in problem(d, n, m)]
    value, size = both(taylor(degree), *arrays)
    bound = gamma(three_roundings(d, degree, n, slack=1), FULL) * size
    kernel, there = sums(kernels, degree, *arrays)
    assert np.all(np.abs(kernel.sums(*there).get() - value) <= bound)
    for right, wrong in PRODUCT_FAULTS.values():
        assert code("tensor_cores").count(right) == 1, "plant it anew"
        planted = functools.partial(str.replace, code("tensor_cores"), right, wrong)
        with monkeypatch.context() as patch:
            patch.setattr(
                launch, "code_of", lambda s, f=planted: f() if s == "tensor_cores" else code(s)
            )
            launch._compiled.cache_clear()
            assert not np.all(np.abs(kernel.sums(*there).get() - value) <= bound), wrong
    launch._compiled.cache_clear()


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
