"""Numbers on their way to the host: few crossings, and none before somebody needs the numbers.

Every read of a device array makes the host wait until the device has done all work before it. So
numbers that a call must know cross together (`fetched`), and those that only bounds need stay where
they are (`at_hand`) until a certificate is read. They may be read in another thread or on another
stream than they were computed on: `done` is an event that such a reader waits for.

Arrays in the memory of the host, of whatever library, cross at once: it costs nothing.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import array_api_compat as compat
import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace

_FAR = ("cuda", "gpu", "rocm")
"""PyTorch's and JAX's names of devices with a memory of their own, and float64 to compute in."""


def far(x: Array) -> bool:
    """Return whether reading the array makes the host wait for a device."""
    if isinstance(x, np.ndarray | np.generic):
        return False
    if compat.is_cupy_array(x):
        return True
    if compat.is_torch_array(x):
        return x.device.type in _FAR
    if compat.is_jax_array(x):
        return next(iter(x.devices())).platform in _FAR
    return False


def at_hand(x: Array) -> Array:
    """Return numbers in float64 for bounds to be computed from: on the host, or, if they are far,
    where they are.
    """
    if not far(x):
        return _arrays.to_float64(x)
    return _arrays.cast(x, "float64", compat.array_namespace(x))


def space(x: Array) -> Namespace:
    """Return the namespace of numbers that are `at_hand`."""
    return np if isinstance(x, np.ndarray | np.generic) else compat.array_namespace(x)


def placed(numbers: Array, like: Array) -> Array:
    """Return numbers at hand, or on the host, beside `like`, in their own dtype."""
    return numbers if far(numbers) else _arrays.from_host(numbers, like)


def fetched(*arrays: Array) -> list[HostArray]:
    """Return arrays on the host, in float64: all that are far in one crossing."""
    there = [x for x in arrays if far(x)]
    if len(there) < 2:
        return [_arrays.to_float64(x) for x in arrays]
    xp = compat.array_namespace(*there)
    flat = [xp.reshape(_arrays.cast(x, "float64", xp), (-1,)) for x in there]
    whole, first = _arrays.to_host(xp.concat(flat)), 0
    found = []
    for x in arrays:
        if not far(x):
            found.append(_arrays.to_float64(x))
            continue
        last = first + math.prod(x.shape)
        found.append(whole[first:last].reshape(x.shape))
        first = last
    return found


def done(like: Array) -> Callable[[], Any] | None:
    """Return what waits until all that the current stream has been given is done; None where
    arrays like this one need no waiting.
    """
    if not far(like) or compat.is_jax_array(like):
        return None  # JAX's arrays wait for themselves
    if compat.is_cupy_array(like):
        cuda = sys.modules["cupy"].cuda
        with like.device:
            event = cuda.Event(disable_timing=True)
            event.record()
    else:
        cuda = sys.modules["torch"].cuda
        event = cuda.Event()
        event.record(cuda.current_stream(like.device))
    wait: Callable[[], Any] = event.synchronize
    return wait
