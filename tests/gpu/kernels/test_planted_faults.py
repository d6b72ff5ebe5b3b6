"""Faults planted in kernels are found: in a small one with barriers, and in our own."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import cuda_shim
import numpy as np
import pytest
from cuda_shim import KernelFault, build

import approxattn._arrays.cuda
from approxattn.monomials.device.kernels import coordinates

pytestmark = pytest.mark.skipif(bool(cuda_shim.why_not()), reason=cuda_shim.why_not())

OURS = Path(approxattn._arrays.cuda.__file__).parent
ANY = list(cuda_shim.ORDERS)

# Every block reverses its part of an array through shared memory, one warp at a time at the end.
REVERSE = """
extern "C" __global__ void reverse(const float* from, float* to, int count) {
    DYNAMIC_SHARED(float, held);
    const int i = threadIdx.x, first = blockIdx.x * blockDim.x;
    held[i] = first + i < count ? from[first + i] : 0.f;
    __syncthreads();
    const float mine = held[blockDim.x - 1 - i];
    __syncthreads();
    held[i] = mine;
    __syncwarp();
    const float next = held[i ^ 1];
    if (first + i < count) to[first + i] = 2 * mine - next;
}
"""


def variant(code: str, number: int) -> str:
    """Return a source whose kernels have names of their own."""
    return re.sub(r"\b(aa_\w+|reverse)\(", rf"v{number}_\1(", code)


@functools.cache
def library(options: tuple[str, ...], *codes: str) -> Any:
    """Compile several variants of a source at one time."""
    return build("\n".join(variant(code, i) for i, code in enumerate(codes)), options)


def planted(code: str, faults: dict[str, Any]) -> list[str]:
    """Return the right source and, in the order of the table, the wrong ones."""
    for fault, (right, *_) in faults.items():
        assert code.count(right) == 1, f"plant {fault!r} anew"
    return [code, *(code.replace(right, wrong) for right, wrong, *_ in faults.values())]


def reverse(number: int, order: str, count: int = 100) -> Any:
    x, out = np.arange(count, dtype="f4"), np.full(count, np.nan, "f4")
    built = library((), *planted(REVERSE, FAULTS))
    kernel = cuda_shim.Kernel(built, f"v{number}_reverse", order)
    kernel((-(-count // 64),), (64,), [x, out, np.int32(count)], shared_mem=256)
    return out


@pytest.mark.parametrize("order", ANY)
def test_a_right_kernel_is_right(order: str) -> None:
    x = np.zeros(128, "f4")
    x[:100] = np.arange(100)
    mine = x.reshape(2, 64)[:, ::-1]
    expected = 2 * mine - mine.reshape(2, 32, 2)[:, :, ::-1].reshape(2, 64)
    np.testing.assert_array_equal(reverse(0, order), expected.ravel()[:100])


FAULTS = {
    "no barrier after writing": ("0.f;\n    __syncthreads();", "0.f;", "race|before it was"),
    "no barrier before writing again": ("- i];\n    __syncthreads();", "- i];", "race"),
    "no barrier of the warp": ("__syncwarp();", "", "race"),
    "a barrier for some": (
        "0.f;\n    __syncthreads();",
        "0.f;\n    if (i < 40) __syncthreads();",
        "different places|race|before it was",
    ),
    "two barriers in the place of one": (
        "0.f;\n    __syncthreads();",
        "0.f;\n    if (i < 32) __syncthreads();\n    else __syncthreads();",
        "different places",
    ),
    "leaving before a barrier": ("held[i] = first", "if (i == 9) return;\nheld[i] = first", "diff"),
    "some shared memory not written": ("held[i] = first", "if (i) held[i] = first", "before it"),
    "shared memory of one more": ("held[blockDim.x - 1 - i]", "held[blockDim.x - i]", "outside"),
    "read beyond the end": ("first + i < count ?", "true ?", "outside"),
    "written beyond the end": ("if (first + i < count) to", "to", "outside"),
    "read before the start": ("from[first + i] :", "from[first + i - 1] :", "outside"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    number, text = 1 + list(FAULTS).index(fault), FAULTS[fault][2]
    found = []
    for order in ANY:
        try:
            reverse(number, order)
        except KernelFault as error:
            found.append(str(error))
    assert found, "no order finds it"
    assert any(word in message for message in found for word in text.split("|")), found


# --- our kernels, called as `device.kernels` calls them -------------------------------------------

D, DEGREE, N, FIRST, BLOCKS, LENGTH, M = 3, 2, 40, 2, 3, 12, 2
TABLE = np.array(coordinates(D, DEGREE))
ROWS = len(TABLE)


def run_all(number: int, order: str) -> list[Any]:
    """Return the outputs of all three kernels of a variant on small numbers."""
    rng = np.random.default_rng(3)
    built = library(("-DREAL=float", f"-DDEGREE={DEGREE}"), *planted(SOURCE, OUR_FAULTS))
    call = {
        name: cuda_shim.Kernel(built, f"v{number}_{name}", order)
        for name in ("aa_features", "aa_running_sum", "aa_pull_back")
    }
    columns = rng.uniform(-1, 1, (D, N)).astype("f4")
    sizes = [np.int64(x) for x in (FIRST, BLOCKS, LENGTH)]
    tokens = [columns, np.int64(N), TABLE, np.int64(ROWS), *sizes]
    phi = np.full((BLOCKS, ROWS, LENGTH), np.nan, "f4")
    call["aa_features"]((2, 3), (32,), [*tokens, phi])
    parts = rng.uniform(-1, 1, (BLOCKS, ROWS, M)).astype("f4")
    carry, before = np.ones((ROWS, M)), np.full((BLOCKS, ROWS, M), np.nan, "f4")
    numbers = [np.int64(x) for x in (BLOCKS, ROWS * M, M)]
    weight = np.arange(1.0, ROWS + 1)
    call["aa_running_sum"]((1,), (32,), [parts, *numbers, weight, carry, before])
    cotangent = rng.uniform(-1, 1, (BLOCKS, ROWS, LENGTH)).astype("f4")
    gradient = np.full((D, N), np.nan, "f4")
    arguments = [*tokens, cotangent, np.int32(D), gradient]
    call["aa_pull_back"]((2,), (32,), arguments, shared_mem=4 * D * 32)
    return [phi, carry, before, gradient]


SOURCE = (OURS / "monomials.cu").read_text(encoding="utf-8")


@functools.cache
def right() -> list[list[Any]]:
    return [run_all(0, order) for order in ANY]


def test_the_calls_are_right() -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate([np.ones((1, N)), rng.uniform(-1, 1, (D, N)).astype("f4")])
    phi = np.prod(x[TABLE], axis=1)[:, FIRST : FIRST + BLOCKS * LENGTH]
    expected = phi.reshape(ROWS, BLOCKS, LENGTH).swapaxes(0, 1)
    parts = rng.uniform(-1, 1, (BLOCKS, ROWS, M)).astype("f4")
    running = 1 + np.concatenate([np.zeros((1, ROWS, M)), np.cumsum(parts, axis=0, dtype="f8")])
    weight = np.arange(1.0, ROWS + 1)[:, None]
    for found in right():
        np.testing.assert_allclose(found[0], expected, rtol=1e-6)
        np.testing.assert_allclose(found[1], running[-1], rtol=1e-12)
        np.testing.assert_allclose(found[2], running[:-1] * weight, rtol=1e-6)
        assert np.isnan(found[3][:, [0, 1, 38, 39]]).all()  # what belongs to others is left alone
        for one, other in zip(found, right()[0], strict=True):
            np.testing.assert_array_equal(one, other)


OUR_FAULTS = {
    "features: no bound": (
        "blocks * length) return;\n    const REAL* x = ",
        "n) return;\n    const REAL* x = ",
    ),
    "features: a wrong block": ("REAL* to = phi + at / length", "REAL* to = phi + at % blocks"),
    "features: counted from 0": (
        "p = x[(long long)(c[k] - 1) * n] * p",
        "p = x[(long long)c[k] * n] * p",
    ),
    "features: the constant forgotten": ("if (c[k]) p = x", "p = x"),
    "running sum: no bound": ("if (entry >= entries) return;", ""),
    "running sum: the own block counts": (
        "if (before) before[b * entries + entry] = (REAL)(sum * weight);\n"
        "        sum += (double)parts[b * entries + entry];",
        "sum += (double)parts[b * entries + entry];\n"
        "        if (before) before[b * entries + entry] = (REAL)(sum * weight);",
    ),
    "running sum: the weight of a neighbour": ("[entry / columns]", "[entry % columns]"),
    "pull back: sums of a neighbour": ("* step + own] +=", "* step + (own ^ 1)] +="),
    "pull back: sums not set to 0": (
        "for (int i = 0; i < d; i++) sums",
        "for (int i = 1; i < d; i++) sums",
    ),
    "pull back: a square has two derivatives": ("|| (k && c[k] == c[k - 1])", ""),
    "pull back: too little shared memory": (
        "= sums[i * step + own]",
        "= sums[(i + 1) * step + own]",
    ),
}


@pytest.mark.parametrize("fault", OUR_FAULTS)
def test_a_fault_in_ours_is_found(fault: str) -> None:
    number = 1 + list(OUR_FAULTS).index(fault)
    for order in ANY:
        try:
            found = run_all(number, order)
        except KernelFault:
            return
        if not all(map(near, found, right()[0])):
            return
    pytest.fail("no order finds it")


def near(x: Any, y: Any) -> bool:
    return bool(np.allclose(x, y, rtol=1e-5, atol=1e-6, equal_nan=True))
