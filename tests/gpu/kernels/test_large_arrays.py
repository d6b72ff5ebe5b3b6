"""Arrays of 2^31 entries and more: places are counted in 64 bits, or the library is asked for less
at a time.
"""

from __future__ import annotations

import ctypes
import mmap
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from cuda_shim import Kernel, build

import approxattn._arrays.cuda
from approxattn._arrays import HostArray, portions
from approxattn._arrays.cuda.launch import code_of
from approxattn._arrays.segments import running_sum
from approxattn.monomials.device.kernels import coordinates

OURS = Path(approxattn._arrays.cuda.__file__).parent
FAR = 2**31
COUNTS = ("n", "rows", "tokens", "first", "blocks", "length", "entries", "slabs")
"""Arguments that grow with the tokens."""


class Sparse:
    """Memory of any size of which only what is written is there."""

    def __init__(self, entries: int, dtype: str) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        self._memory = mmap.mmap(-1, entries * np.dtype(dtype).itemsize, flags=flags)
        self.host: HostArray = np.frombuffer(self._memory, dtype)
        self.address = np.uintp(ctypes.addressof(ctypes.c_char.from_buffer(self._memory)))


def test_monomials_far_away(kernels: ModuleType) -> None:
    assert kernels
    n, first, tokens, d = FAR + 8, FAR + 2, 5, 2
    columns = Sparse(n * d, "f4")
    x = np.random.default_rng(0).uniform(1, 2, (d, tokens)).astype("f4")
    for i in range(d):
        columns.host[i * n + first : i * n + first + tokens] = x[i]
    phi = np.zeros((1, 6, tokens), "f4")
    call = Kernel(build(code_of("monomials"), ("-DDEGREE=2", "-DREAL=float")), "aa_features")
    table = coordinates(d, 2)
    numbers = np.int64(6), np.int64(first), np.int64(1), np.int64(tokens)
    call((1, 1), (32,), (columns.address, np.int64(n), np.array(table), *numbers, phi))
    padded = np.concatenate([np.ones((1, tokens), "f4"), x])
    np.testing.assert_array_equal(phi[0], padded[table[:, 0]] * padded[table[:, 1]])


def test_codes_far_away(kernels: ModuleType) -> None:
    assert kernels
    rows, first, tokens, hashes = FAR + 8, FAR + 1, 3, 2
    codes = Sparse(rows * hashes, "i4")
    products = np.random.default_rng(0).standard_normal((tokens, hashes, 2)).astype("f4")
    call = Kernel(build(code_of("hashing"), ("-DREAL=float",)), "aa_pack")
    sizes = np.int64(tokens), np.int32(hashes), np.int32(2), np.int64(rows), np.int64(first)
    call((1, 1), (32,), (products, *sizes, codes.address))
    wanted = (products > 0) @ np.array([1, 2])
    for h in range(hashes):
        own = codes.host[h * rows + first : h * rows + first + tokens]
        np.testing.assert_array_equal(own, wanted[:, h])


@pytest.mark.parametrize("path", sorted(OURS.glob("*.cu")), ids=lambda path: path.stem)
def test_counts_of_tokens_have_64_bits(path: Path) -> None:
    code = path.read_text(encoding="utf-8")
    signatures = re.findall(r"__global__[^(]*?(?:\(\w+, \d\)\s*)?(aa_\w+)\(([^)]*)\)", code)
    assert signatures
    for name, given in signatures:
        for argument in given.split(","):
            kind, _, word = argument.strip().rpartition(" ")
            if word in COUNTS:
                assert kind == "long long", f"{name}: {argument.strip()}"
    for line in code.splitlines():
        # a block's number times something is taken in 64 bits
        for wide in re.findall(r"(\(long long\))?blockIdx\.x \* (?!length)", line):
            assert wide, line


@pytest.mark.parametrize("largest", [7, 20, 59, 10**6])
def test_prefix_sums_by_columns(
    cupy: ModuleType, monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    import array_api_compat

    x = np.random.default_rng(0).standard_normal((10, 6))
    there = cupy.asarray(x)
    xp = array_api_compat.array_namespace(there)
    monkeypatch.setattr(portions, "LARGEST", largest)
    if largest < 10:
        with pytest.raises(ValueError, match="10 tokens are more than"):
            running_sum(there, xp)
    else:
        np.testing.assert_array_equal(running_sum(there, xp).get(), np.cumsum(x, axis=0))


def test_no_array_of_a_step_wraps(cupy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions, "room", lambda _: 2**60)
    like = cupy.asarray(np.zeros(1, "f4"))
    for entries in (1, 1000, 2**31, 2**40):
        assert portions.at_once(like, 1, entries) * entries < 2**31 or entries >= 2**31
        assert portions.at_once(like, 1, entries) >= 1
