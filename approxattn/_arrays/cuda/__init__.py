"""Our kernels for NVIDIA GPUs: sources that are compiled at run time, and the one place that
launches them.

CuPy compiles (by NVRTC) and launches, for its own arrays and for PyTorch's, which are handed over
as addresses on PyTorch's stream. Without CuPy, or with ``APPROXATTN_KERNELS=off`` in the
environment, everything runs through the array API, as on any other device.

Sources include nothing. A kernel indexes by 64-bit numbers, never adds atomically, and gives the
same bits every time.
"""

from approxattn._arrays.cuda.launch import (
    THREADS,
    UNASKED,
    Launcher,
    cells,
    launcher,
    ready,
    shared_memory,
)
from approxattn._arrays.cuda.probe import tensor_cores_hold

__all__ = [
    "THREADS",
    "UNASKED",
    "Launcher",
    "cells",
    "launcher",
    "ready",
    "shared_memory",
    "tensor_cores_hold",
]
