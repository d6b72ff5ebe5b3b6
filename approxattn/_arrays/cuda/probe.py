"""Whether the tensor cores of a device do what bounds assume of them.

`precision` assumes of one product of TF32 factors: each factor is off by at most v, and by nothing
if it has 11 bits; each addition in the accumulator by u' of the sizes of its terms. NVIDIA does not
document the last. So it is tried, once a device: products of crafted numbers (wide exponents,
cancellation, a large or a small accumulator, terms that are cut off beside a large one), as they
are and cut off to 11 bits, are compared with float64. A device that fails gets no kernel on tensor
cores. That is evidence, not proof; what stays assumed is that other numbers fare no worse.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.cuda.launch import SWITCH, device_of, launcher
from approxattn._arrays.precision import FORMATS

CASES = 384
KINDS = 6
SMALL = {"D": 1, "DEGREE": 2, "COLUMN_TILES": 1, "ITEMS_A_WARP": 1, "TOKEN_TILES": 1, "PASSES": 1}
"""Constants that the probe does not look at."""

NO_TENSOR_CORES = "scalar"
"""Value of the switch that keeps kernels on tensor cores out, and no others."""

AMPERE = 80
"""Compute capability, times ten, of the first devices with TF32."""


def tensor_cores_hold(like: Array) -> bool:
    """Return whether the device of an array has TF32 and keeps to `FORMATS`, and nobody keeps
    tensor cores out.
    """
    if os.environ.get(SWITCH, "on").lower() == NO_TENSOR_CORES:
        return False
    device = device_of(like)
    if int(device.compute_capability) < AMPERE:
        return False
    return _holds(_Place(type(device), device.id, like))


class _Place:
    """A device, equal to itself whichever array named it."""

    def __init__(self, kind: Any, number: int, like: Array) -> None:
        self.key, self.like = (kind, number), like

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Place) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@functools.lru_cache(maxsize=16)
def _holds(place: _Place) -> bool:
    like, place.like = place.like, None  # the cache keeps no array alive
    return all(
        bool(np.all(excess(*factors, _products(like, *factors), exact=exact) <= 1))
        for exact in (False, True)
        for factors in (cases(exact=exact),)
    )


def _products(like: Array, *factors: HostArray) -> HostArray:
    there = [_arrays.from_host(x, like) for x in (*factors, np.zeros_like(factors[2]))]
    launcher("tensor_cores", there[0], **SMALL)("aa_probe", (CASES,), 32, *there)
    return _arrays.to_float64(there[-1])


def cases(*, exact: bool = False) -> tuple[HostArray, HostArray, HostArray]:
    """Return A (cases, 16, 8), B (cases, 8, 8) and C (cases, 16, 8), float32; with factors of 11
    bits if `exact`.
    """
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal((CASES, *size)) for size in ((16, 8), (8, 8), (16, 8)))
    kind = np.arange(CASES)[:, None, None] % KINDS
    spread = np.exp2(rng.integers(-20, 20, a.shape))
    a = np.where(kind == 1, a * spread, a)
    a, b = (np.where((kind == 2) | (kind == 4), np.abs(x), x) for x in (a, b))
    # one term of size 1 to 2, and others that lie where an accumulator of 24 bits ends
    low = np.exp2(rng.integers(-25, -20, a.shape))
    a = np.where((kind == 4) & (np.arange(8) > 0), a * low, a)
    c = np.where(kind == 0, c * np.exp2(rng.integers(-30, 30, c.shape)), c)
    c = np.where(kind == 4, np.abs(c) * np.exp2(rng.integers(-25, 25, c.shape)), c)
    c = np.where(kind == 5, 0.0, c)
    a, b = a.astype(np.float32), b.astype(np.float32)
    a, b = (_eleven_bits(x) for x in (a, b)) if exact else (a, b)
    c = np.where(kind == 3, -(a.astype(np.float64) @ b), c).astype(np.float32)  # nearly cancels
    return a, b, c


def _eleven_bits(x: HostArray) -> HostArray:
    return np.asarray((x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32))


def excess(
    a: HostArray, b: HostArray, c: HostArray, found: HostArray, *, exact: bool = False
) -> HostArray:
    """Return the errors of C + A B as multiples of what is assumed, shape (cases, 16, 8); of
    factors of 11 bits if `exact`.
    """
    w, step = FORMATS["tf32"]
    w = 0.0 if exact else w
    a, b, c = (x.astype(np.float64) for x in (a, b, c))
    size = np.abs(a) @ np.abs(b)
    allowed = w * size + step * (np.abs(c) + (1 + w) * size)
    return np.asarray(np.abs(found - (c + a @ b)) / allowed)
