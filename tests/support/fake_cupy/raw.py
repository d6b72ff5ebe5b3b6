"""`cupy.RawModule` on the CPU: the kernels that NVRTC would compile, run by `cuda_shim`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from cuda_shim import Kernel, build

from fake_cupy.arrays import TRAFFIC, Device, ndarray

SETTINGS = {"order": "in step"}
"""Which threads go first: one of `cuda_shim.build.ORDERS`."""


def _largest_shared() -> int:
    return int(Device.attributes["MaxSharedMemoryPerBlockOptin"])


class RawKernel:
    """One kernel; it takes contiguous arrays of the device and NumPy's scalars."""

    def __init__(self, library: Any, name: str) -> None:
        self._library, self._name = library, name
        self.max_dynamic_shared_size_bytes = 48 * 1024

    def __call__(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
    ) -> None:
        TRAFFIC.launch()
        if not 0 < block[0] <= 1024 or not all(0 < g <= 65535 for g in grid[1:]):
            msg = f"CUDA_ERROR_INVALID_VALUE: invalid argument: grid {grid}, block {block}"
            raise ValueError(msg)
        if shared_mem > min(self.max_dynamic_shared_size_bytes, _largest_shared()):
            msg = f"CUDA_ERROR_INVALID_VALUE: {shared_mem} bytes of shared memory"
            raise ValueError(msg)
        hosts = [arg.host if isinstance(arg, ndarray) else arg for arg in args]
        if any(isinstance(arg, np.ndarray) for arg in args):
            msg = "an array of the host in the arguments of a kernel"
            raise TypeError(msg)
        Kernel(self._library, self._name, SETTINGS["order"])(
            grid, block, hosts, shared_mem=shared_mem
        )


class RawModule:
    """The kernels of a source."""

    def __init__(
        self,
        code: str | None = None,
        *,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        **others: Any,
    ) -> None:
        assert path is None
        assert not others
        assert backend == "nvrtc"
        self._code, self._options = code, tuple(options)

    def compile(self, log_stream: Any = None) -> None:
        del log_stream
        build(self._code, self._options)

    def get_function(self, name: str) -> RawKernel:
        return RawKernel(build(self._code, self._options), name)
