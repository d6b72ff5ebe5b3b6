"""How much is taken at one time: what fits the caches of a host, or what fills a device.

A step on a host is as long as what it touches stays in cache. On a device a step is a launch of
some microseconds, so it takes as much as a share of the device's memory holds.

No bound depends on which: sums over keys go through blocks of the same length everywhere
(`monomials.contraction.chunk_length`, `monomials.dense.SCORE_BLOCK`, `softmax.streaming.KEY_BLOCK`
and so on), which roundings are counted from. Only how many blocks, or how many queries, share a
step is looked up here. Where blocks side by side are added up, their sums take no more additions
than one after the other.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import array_api_compat as compat
import numpy as np

from approxattn._arrays import Array

SHARE = 10
"""A step holds one part in so many of a device's memory, besides its input and its output.
*Chosen*: 8 GiB of 80, no more than 10,000 launches for 2^23 rows.
"""

LARGEST = 2**31 - 1
"""Numbers in one array that a step makes: beyond, a library may count them in 32 bits and wrap."""

UNKNOWN = 2**35
"""Bytes of memory of a device that does not say. *Chosen*."""


def on_device(array: Array) -> bool:
    """Return whether an array lies in memory that only launches reach, not in that of the host."""
    if isinstance(array, np.ndarray):
        return False
    if compat.is_torch_array(array):
        return bool(array.device.type != "cpu")
    if compat.is_jax_array(array):
        where = getattr(array, "device", None)  # a traced array has none
        return getattr(where, "platform", "cpu") != "cpu"
    return bool(compat.is_cupy_array(array))


def at_once(like: Array, host: int, entries: int) -> int:
    """Return how many of something to take in one step: `host` in the memory of the host; on a
    device as many as fit, each holding so many numbers of the dtype of `like`, and no fewer.

    All of them together hold no more than LARGEST numbers, so no array of a step does.
    """
    if not on_device(like):
        return host
    size = int(getattr(like.dtype, "itemsize", 8))
    return max(host, min(room(like) // size, LARGEST) // max(1, entries))


def room(like: Array) -> int:
    """Return the bytes that a step may hold on the device of an array: the same for every call, so
    that equal calls have equal bits.
    """
    if compat.is_cupy_array(like):
        return _of_cupy(like.device.id) // SHARE
    if compat.is_torch_array(like) and like.device.type == "cuda":
        return _of_torch(like.device) // SHARE
    return UNKNOWN // SHARE


@functools.lru_cache(maxsize=16)
def _of_cupy(number: int) -> int:
    with sys.modules["cupy"].cuda.Device(number) as device:
        return int(device.mem_info[1])


@functools.lru_cache(maxsize=16)
def _of_torch(device: Any) -> int:
    return int(sys.modules["torch"].cuda.get_device_properties(device).total_memory)
