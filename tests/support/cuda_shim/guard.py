"""Arrays that end, or begin, at a page that nobody may touch: a step beyond is an error there and
then, not a wrong number somewhere.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

from approxattn._arrays import HostArray

_LIBC = ctypes.CDLL(None, use_errno=True)


def guarded(array: HostArray, *, in_front: bool = False) -> HostArray:
    """Return a contiguous copy that ends at a guard page, or begins behind one."""
    page = mmap.PAGESIZE
    room = -(-max(array.nbytes, 1) // page) * page
    memory = mmap.mmap(-1, room + 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for guard in (start, start + page + room):
        failed = _LIBC.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0)
        assert not failed, ctypes.get_errno()
    offset = page if in_front else page + room - array.nbytes
    flat: Any = np.frombuffer(memory, array.dtype, array.size, offset)
    copy = flat.reshape(array.shape)
    copy[...] = array
    return np.asarray(copy)
