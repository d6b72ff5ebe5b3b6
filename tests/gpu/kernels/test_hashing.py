"""The kernels of hash tables, executed on the CPU, against sums over pairs."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from cuda_shim import ORDERS, KernelFault
from fake_cupy import TRAFFIC
from fake_cupy.raw import SETTINGS

import approxattn as aa
from approxattn._arrays import HostArray
from approxattn._arrays.cuda import launch
from approxattn.hashing.hyperplanes import codes
from approxattn.methods.yoso import device_tables

SHAPES = [
    ((2,), 70, 40, 5, 3, (2, 1, 3), 4),
    ((), 1, 1, 1, 1, (1,), 1),
    ((3,), 33, 65, 2, 34, (2,), 8),
]
"""Leading axes, keys, queries, d, columns, groups, bits."""


FAULTS = {
    "pack: no bound": ("if (token >= tokens) return;", ""),
    "pack: a wrong hash": ("codes[h * rows + first", "codes[(h ^ 1) * rows + first"),
    "tables: no bound on columns": ("if (column >= columns) return;", ""),
    "tables: no bound on tokens": ("first + length : n;", "first + length : first + length;"),
    "tables: sums of a neighbour": ("[code[j] * width + lane]", "[code[j] * width + (lane ^ 1)]"),
    "tables: sums of the hash before": (
        "sums[b * width + lane] = 0",
        "if (!h) sums[b * width + lane] = 0",
    ),
    "read: no bound": ("if (entry >= rows * columns) return;", ""),
    "read: a wrong item": ("(h * items + item) * buckets + codes", "h * items * buckets + codes"),
    "read: groups run together": ("double part = 0;", "static double part = 0;"),
}


def namespace(array: object) -> object:
    import array_api_compat

    return array_api_compat.array_namespace(array)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("batch", "n_k", "n_q", "d", "c", "groups", "bits"), SHAPES)
def test_sums_and_squares(
    kernels: ModuleType,
    order: str,
    monkeypatch: pytest.MonkeyPatch,
    batch: tuple[int, ...],
    n_k: int,
    n_q: int,
    d: int,
    c: int,
    groups: tuple[int, ...],
    bits: int,
    dtype: str,
) -> None:
    monkeypatch.setattr(device_tables, "SHORTEST_SLAB", 16)  # several slabs of few keys
    monkeypatch.setattr(device_tables, "PRODUCTS_AT_ONCE", 40 * sum(groups) * bits)
    rng = np.random.default_rng(0)
    k, q = (rng.standard_normal((*batch, n, d)).astype(dtype) for n in (n_k, n_q))
    k[..., 0, :] = 0  # a zero row has the code 0
    v = rng.uniform(-1, 1, (*batch, n_k, c)).astype(dtype)
    normals = rng.standard_normal((sum(groups), bits, d)).astype(dtype)
    there = [kernels.asarray(x) for x in (v, k, q, normals)]
    total, squares = device_tables.read_sums(*there, groups, namespace(there[0]))
    same = [codes(x, normals, np) for x in (q, k)]
    one = (same[0][..., :, None] == same[1][..., None, :]).astype("f8") @ v.astype("f8")
    np.testing.assert_allclose(total.get(), one.sum(0), rtol=1e-12, atol=1e-12)
    ends = np.cumsum(groups)
    parts = [one[end - g : end].sum(0) ** 2 / g for end, g in zip(ends, groups, strict=True)]
    np.testing.assert_allclose(squares.get(), sum(parts), rtol=1e-12, atol=1e-12)
    assert order


def small_sums(cupy: ModuleType) -> list[HostArray]:
    rng = np.random.default_rng(0)
    k, q = rng.standard_normal((2, 2, 40, 3)).astype("f4")
    v, normals = rng.uniform(-1, 1, (2, 40, 33)).astype("f4"), rng.standard_normal((4, 3, 3))
    there = [cupy.asarray(x) for x in (v, k, q, normals.astype("f4"))]
    return [x.get() for x in device_tables.read_sums(*there, (1, 3), namespace(there[0]))]


QUICK = "pack: no bound", "tables: no bound on tokens", "read: a wrong item"
CASES = [pytest.param(f, marks=() if f in QUICK else pytest.mark.long) for f in FAULTS]


@pytest.mark.parametrize("fault", CASES)
def test_a_planted_fault_is_found(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(device_tables, "SHORTEST_SLAB", 16)
    right, code = small_sums(kernels), launch.code_of("hashing")
    assert code.count(FAULTS[fault][0]) == 1, "plant it anew"
    monkeypatch.setattr(launch, "code_of", lambda _: code.replace(*FAULTS[fault]))
    launch._compiled.cache_clear()
    for which in ORDERS:
        monkeypatch.setitem(SETTINGS, "order", which)
        try:
            wrong = small_sums(kernels)
        except KernelFault:
            break
        if not all(map(np.allclose, right, wrong)):
            break
    else:
        pytest.fail("no order finds it")
    launch._compiled.cache_clear()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("bound", ["hoeffding", "bernstein"])
def test_yoso_is_that_of_the_general_way(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch, bound: str, masked: bool
) -> None:
    q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 2, 50, 6)).astype("f4")
    mask = {"key_mask": kernels.asarray(np.arange(50) < 41)} if masked else {}
    there = [kernels.asarray(x) for x in (q, k, v)]
    found = []
    for switch in ("on", "off"):
        monkeypatch.setenv("APPROXATTN_KERNELS", switch)
        TRAFFIC.clear()
        method = aa.Yoso(bits=5, hashes=6, bound=bound)
        result = aa.attention(*there, method, rng=np.random.default_rng(1), **mask)
        found.append((result.value.get(), result.certificate.rows, TRAFFIC.launches.total()))
        used = any("device_tables" in place for place in TRAFFIC.launches)
        assert used == (switch == "on")
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-6)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4)
    assert found[0][2] < found[1][2]


def test_launches_do_not_grow_with_hashes(kernels: ModuleType) -> None:
    x: HostArray = np.random.default_rng(0).uniform(-1, 1, (2, 40, 4)).astype("f4")
    counts = []
    for hashes in (4, 16):
        TRAFFIC.clear()
        there = [kernels.asarray(x)] * 3
        aa.attention(*there, aa.Yoso(bits=4, hashes=hashes), rng=np.random.default_rng(0))
        counts.append(TRAFFIC.launches.total())
    assert counts[0] == counts[1]
