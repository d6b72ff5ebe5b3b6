"""Compile a `.cu` source by g++ and call its kernels."""

from __future__ import annotations

import atexit
import ctypes
import functools
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cuda_shim.guard import guarded

HERE = Path(__file__).parent
FLAGS = ["-O1", "-std=c++17", "-shared", "-fPIC", "-w", "-ffp-contract=off"]
ORDERS = {"in step": 0, "last warp first": 1, "by chance": 2}
FAULTS = {
    -1: "a wrong number of arguments",
    1: "threads at different places: a barrier or product that not all of them reach",
    2: "a race: two threads touch one place of shared memory without a barrier between",
    3: "shared memory read before it was written",
    4: "an address outside of an array",
}

_KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(")


class KernelFault(RuntimeError):
    """What a kernel did that no kernel may do."""


class _Dim(ctypes.Structure):
    _fields_ = [(axis, ctypes.c_uint) for axis in "xyz"]


def why_not() -> str:
    """Return why kernels cannot run here; empty where they can."""
    if platform.machine() != "x86_64":
        return f"the shim's fibers are written for x86-64, this is {platform.machine()}"
    return "" if shutil.which("g++") else "there is no g++ to run kernels with"


@functools.lru_cache(maxsize=1)
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="kernels-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    header = ["g++", *FLAGS, "-x", "c++-header", str(HERE / "shim.h")]
    done = subprocess.run([*header, "-o", f"{folder}/shim.h.gch"], capture_output=True, check=False)
    if done.returncode:  # then each source reads the header itself, and says what is wrong with it
        (Path(folder) / "shim.h.gch").unlink(missing_ok=True)
    return Path(folder)


@functools.lru_cache(maxsize=128)
def build(code: str, options: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Return the kernels of a source as a library; `options` as for NVRTC, of which only
    definitions count.
    """
    names = _KERNEL.findall(code)
    calls = "\n".join(
        f'extern "C" int call_{name}(shim::Dim grid, shim::Dim block, size_t shared, int how, '
        "unsigned long long chance, void** a, int count) "
        f"{{ return shim::launch({name}, grid, block, shared, how, chance, a, count); }}"
        for name in names
    )
    stem = _folder() / f"k{len(list(_folder().iterdir()))}"
    source = stem.with_suffix(".cpp")
    source.write_text(f'#include "shim.h"\n{code}\n{calls}\n', encoding="utf-8")
    defines = [option for option in options if option.startswith("-D")]
    command = ["g++", *FLAGS, f"-I{HERE}", *defines, str(source)]
    command += ["-o", str(stem.with_suffix(".so"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelFault(done.stderr[:2000])
    return ctypes.CDLL(str(stem.with_suffix(".so")))


class Kernel:
    """A kernel that is called as CuPy's `RawKernel` is: grid, block, arguments.

    Parameters
    ----------
    library : ctypes.CDLL
        What `build` returned.
    name : str
        Of the kernel.
    order : str
        One of ORDERS: which threads go first.
    """

    def __init__(self, library: ctypes.CDLL, name: str, order: str = "in step") -> None:
        self.name, self.order = name, order
        self._call = getattr(library, f"call_{name}")

    def __call__(
        self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared_mem: int = 0
    ) -> None:
        """Run it on NumPy arrays, which must be contiguous, and NumPy's scalars.

        Raises
        ------
        KernelFault
            Naming what it did.
        """
        copies, places = [], []
        for arg in args:
            if isinstance(arg, np.ndarray):
                assert arg.flags.c_contiguous, "a kernel takes contiguous arrays"
                copy = guarded(arg, in_front=self.order == "last warp first")
                copies.append((arg, copy))
                places.append(ctypes.c_void_p(copy.ctypes.data))
            else:
                assert isinstance(arg, np.generic), f"{arg!r} has no fixed size"
                places.append(ctypes.create_string_buffer(arg.tobytes()))  # type: ignore[arg-type]
        given = (ctypes.c_void_p * len(places))(*(ctypes.addressof(p) for p in places))
        sizes = (_Dim(*(*map(int, dim), 1, 1)[:3]) for dim in (grid, block))
        chance = ctypes.c_ulonglong(sum(map(ord, self.name)))
        shared, order = ctypes.c_size_t(shared_mem), ORDERS[self.order]
        found = self._call(*sizes, shared, order, chance, given, len(places))
        if found:
            msg = f"{self.name}, {self.order}: {FAULTS[found]}"
            raise KernelFault(msg)
        for arg, copy in copies:
            if arg.flags.writeable:
                arg[...] = copy
