"""A module `cupy` without a GPU: NumPy underneath, with only the names and signatures of the real
one (`names.json`), no conversion to the host unless it is asked for, and every crossing counted.
Our kernels run on the CPU (`raw`).

It catches missing names and keywords, host arrays mixed with device arrays, implicit conversions,
indices out of range (CuPy wraps them silently) and host synchronisations. It cannot see rounding,
races or speed.
"""

from fake_cupy.arrays import TRAFFIC, Device, ndarray
from fake_cupy.modules import installed

__all__ = ["TRAFFIC", "Device", "installed", "ndarray"]
