"""CUDA kernels run by g++ on the CPU: what can be known of them without a GPU.

`shim.h` says what it finds. It cannot see speed, registers, or how a GPU orders memory.
"""

from cuda_shim.build import ORDERS, Kernel, KernelFault, build, why_not
from cuda_shim.guard import guarded

__all__ = ["ORDERS", "Kernel", "KernelFault", "build", "guarded", "why_not"]
