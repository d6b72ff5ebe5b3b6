"""Whether our kernels can serve an array, how they are compiled, and how one is launched."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import array_api_compat as compat
import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array

SWITCH = "APPROXATTN_KERNELS"
"""Environment variable: "off" keeps our kernels out, "scalar" those on tensor cores."""

THREADS = 256
"""Threads of a block where each has one entry. *Chosen*."""

UNASKED = 48 * 1024
"""Bytes of shared memory that a block gets on every device."""

_REAL = {"float32": "float", "float64": "double"}


def ready(*arrays: Array, shared: int = 0) -> bool:
    """Return whether our kernels can take these arrays: CuPy's or PyTorch's on a CUDA device, all
    in float32 or all in float64, with CuPy at hand; a block takes so many bytes of shared memory.
    """
    if os.environ.get(SWITCH, "on").lower() in ("off", "0"):
        return False
    names = {_arrays.dtype_name(array) for array in arrays}
    if len(names) != 1 or not names <= set(_REAL):
        return False
    if not all(map(_is_cuda, arrays)):
        return False
    return shared <= UNASKED or shared <= shared_memory(arrays[0])


def shared_memory(like: Array) -> int:
    """Return the bytes of shared memory that a block may ask for on the device of an array: 64 to
    227 KiB, by generation.
    """
    return int(device_of(like).attributes.get("MaxSharedMemoryPerBlockOptin", UNASKED))


def _is_cuda(array: Array) -> bool:
    if compat.is_cupy_array(array):
        return True
    on_device = compat.is_torch_array(array) and array.device.type == "cuda"
    return on_device and ("cupy" in sys.modules or _is_installed())


@functools.cache
def _is_installed() -> bool:
    """Return whether CuPy could be imported; looking takes long."""
    return importlib.util.find_spec("cupy") is not None


def cells(count: int, threads: int = THREADS) -> int:
    """Return the number of blocks with one thread for each of `count` entries."""
    return -(-count // threads)


class Launcher:
    """The kernels of one source, compiled for one dtype and one set of constants.

    Parameters
    ----------
    source : str
        Name of a `.cu` file of this room, without its ending.
    like : array
        An array of the device, dtype and library that the kernels serve.
    constants : mapping of str to int
        Further definitions, which the source names.
    """

    def __init__(self, source: str, like: Array, constants: Mapping[str, int]) -> None:
        defined = {"REAL": _REAL[_arrays.dtype_name(like)], **constants}
        options = tuple(f"-D{name}={value}" for name, value in sorted(defined.items()))
        self._like, self._cupy = like, _cupy()
        self._module = _compiled(self._cupy, source, options)

    def __call__(
        self,
        name: str,
        grid: Sequence[int],
        threads: int,
        *arguments: Any,
        shared: int = 0,
    ) -> None:
        """Launch a kernel; arguments are contiguous arrays, ints (64 bits), NumPy scalars, or None
        for a null pointer.
        """
        if not all(grid):
            return
        with self._here():
            kernel = self._module.get_function(name)
            if shared > UNASKED:
                kernel.max_dynamic_shared_size_bytes = shared
            kernel(tuple(grid), (threads,), tuple(map(_argument, arguments)), shared_mem=shared)

    @contextlib.contextmanager
    def _here(self) -> Any:
        """Make the array's device the current one, and PyTorch's stream CuPy's."""
        device = device_of(self._like)
        if compat.is_cupy_array(self._like):
            with device:
                yield
            return
        stream = sys.modules["torch"].cuda.current_stream(self._like.device)
        with device, self._cupy.cuda.ExternalStream(stream.cuda_stream, device.id):
            yield


def _argument(x: Any) -> Any:
    if x is None:
        return np.uintp(0)
    if isinstance(x, int):
        return np.int64(x)
    if isinstance(x, np.generic) or compat.is_cupy_array(x):
        return x
    return np.uintp(x.data_ptr())


def launcher(source: str, like: Array, **constants: int) -> Launcher:
    """Return the kernels of a source for arrays like this one.

    Raises
    ------
    RuntimeError
        If CuPy cannot compile them: the message says how to do without.
    """
    return Launcher(source, like, constants)


def device_of(array: Array) -> Any:
    """Return CuPy's name of the device that an array lies on."""
    if compat.is_cupy_array(array):
        return array.device
    return _cupy().cuda.Device(array.device.index or 0)


def code_of(source: str) -> str:
    """Return the text of a source of this room."""
    return (Path(__file__).parent / f"{source}.cu").read_text(encoding="utf-8")


def _cupy() -> Any:
    """Return CuPy, which is imported at most once it is needed."""
    return sys.modules.get("cupy") or importlib.import_module("cupy")


@functools.lru_cache(maxsize=256)
def _compiled(cupy: Any, source: str, options: tuple[str, ...]) -> Any:
    try:
        module = cupy.RawModule(code=code_of(source), options=options, backend="nvrtc")
        module.compile()
    except Exception as error:
        msg = (
            f"CuPy could not compile {source}.cu with {' '.join(options)} ({error}): set "
            f"{SWITCH}=off in the environment to do without our kernels"
        )
        raise RuntimeError(msg) from error
    return module
