"""The array library that is measured: how arrays get there, and how long a call takes."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

LIBRARIES = "cupy", "torch", "numpy"


class Library:
    """One of LIBRARIES.

    Attributes
    ----------
    xp : module
        The library.
    device : str
        Name of the device, e.g. "NVIDIA H200".
    """

    def __init__(self, name: str) -> None:
        self.name = name
        if name == "cupy":
            import cupy

            self.xp: Any = cupy
            properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
            self.device = properties["name"].decode()
        elif name == "torch":
            import torch

            self.xp, self.device = torch, torch.cuda.get_device_name()
        else:
            self.xp, self.device = np, "CPU"

    def wait(self) -> None:
        """Wait until the device has done all it was asked for."""
        if self.name == "cupy":
            self.xp.cuda.Device().synchronize()
        elif self.name == "torch":
            self.xp.cuda.synchronize()

    def uniform(self, shape: tuple[int, ...], size: float, seed: int, dtype: str) -> Any:
        """Return random numbers in [-size, size), made on the device, one leading index after the
        other.
        """
        parts = [self._uniform(shape[1:], seed + i, dtype) for i in range(shape[0])]
        stacked = self.xp.stack(parts)
        stacked *= 2 * size
        stacked -= size
        return stacked

    def _uniform(self, shape: tuple[int, ...], seed: int, dtype: str) -> Any:
        if self.name == "torch":
            generator = self.xp.Generator(device="cuda").manual_seed(seed)
            kind = getattr(self.xp, dtype)
            return self.xp.rand(shape, generator=generator, device="cuda", dtype=kind)
        rng = self.xp.random.default_rng(seed)
        return rng.random(math.prod(shape), dtype=getattr(np, dtype)).reshape(shape)

    def host(self, array: Any) -> np.ndarray[Any, Any]:
        """Return an array as NumPy's."""
        if self.name == "cupy":
            return np.asarray(array.get())
        return np.asarray(array.cpu().numpy() if self.name == "torch" else array)

    def free(self) -> None:
        """Give memory back that only the library's pool holds."""
        if self.name == "cupy":
            self.xp.get_default_memory_pool().free_all_blocks()
        elif self.name == "torch":
            self.xp.cuda.empty_cache()


@contextmanager
def in_tf32(library: Library, wanted: bool) -> Iterator[None]:
    """Let products of float32 be made in TF32 inside, where that is wanted and there is such a
    setting.
    """
    if not wanted or library.name == "numpy":
        yield
    elif library.name == "torch":
        matmul = library.xp.backends.cuda.matmul
        before, matmul.allow_tf32 = matmul.allow_tf32, True
        try:
            yield
        finally:
            matmul.allow_tf32 = before
    else:
        from cupy._core import _routines_linalg as linalg  # read once from CUPY_TF32, then here

        before = linalg.get_compute_type(np.float32)
        linalg.set_compute_type(np.float32, linalg.COMPUTE_TYPE_TF32)
        try:
            yield
        finally:
            linalg.set_compute_type(np.float32, before)


def times(
    library: Library, work: Callable[[], object], seconds: float, most: int = 15
) -> dict[str, Any]:
    """Return the wall-clock seconds of the first call, which compiles, and of those after it; one
    that is longer than `seconds` is not repeated.
    """
    first = _once(library, work)
    found: list[float] = []
    end = time.perf_counter() + seconds
    while first <= seconds and len(found) < most:
        found.append(_once(library, work))
        if time.perf_counter() > end and len(found) >= 3:
            break
    return {"first": first, "seconds": found or [first]}


def _once(library: Library, work: Callable[[], object]) -> float:
    library.wait()
    start = time.perf_counter()
    work()
    library.wait()
    return time.perf_counter() - start


@contextmanager
def copies_counted() -> Iterator[dict[str, int]]:
    """Count the arrays that approxattn copies to the host inside, and their bytes."""
    # the one place where data leaves the device; no name of the package's interface
    arrays: Any = sys.modules["approxattn._arrays"]
    count, real = {"copies": 0, "bytes": 0}, arrays.to_host

    def counted(array: Any) -> Any:
        found = real(array)
        if not isinstance(array, np.ndarray | np.generic):
            count["copies"] += 1
            count["bytes"] += found.nbytes
        return found

    arrays.to_host = counted
    try:
        yield count
    finally:
        arrays.to_host = real
