"""Random numbers by counting: number i of a stream is a function of its key and of i alone.

Philox4x64-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3";
wording unverified) makes four words of 64 bits of a counter and a key of two such words, in ten
rounds of

    (c0, c1, c2, c3) <- (high(B c2) ^ c1 ^ k0, low(B c2), high(A c0) ^ c3 ^ k1, low(A c0)),

k0 and k1 growing by constants of Weyl from round to round. Block t of a stream belongs to the
counter t + 1, as in `numpy.random.Philox`, which makes the words on the host. A device makes the
same words itself, and only the key crosses: integers of 64 bits that wrap around are in every
library, and the high word of a product is the sum of the products of halves (proved here):

    a b = hh 2^64 + (lh + hl) 2^32 + ll,
    high = hh + floor(lh / 2^32) + floor(hl / 2^32)
           + floor((floor(ll / 2^32) + (lh mod 2^32) + (hl mod 2^32)) / 2^32).

A stream is used by halves of words, low half first. Normal numbers come in pairs from two halves a
and b, by Box and Muller (1958; wording unverified), r cos t and r sin t with r^2 = -2 ln((a + 1/2)
/ 2^32) and t = 2 pi (b / 2^32 - 1/2). Cosine and sine are (1 - h^2)/(1 + h^2) and 2 h/(1 + h^2),
h = tan(t / 2), which NumPy takes in less than half of the time. They reach 6.7, beyond which lies
one normal number in 7 10^10. Their variance is that of a normal number but for less than 2^-31 (a
midpoint rule). Numbers below m are floor(a m / 2^32), whose probabilities are off by at most 2^-32.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.crossing import far, space

_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_LOW = 0xFFFFFFFF
ROUNDS = 10

OF_BLOCK = 8
"""Halves that one counter gives."""

HOST_BLOCK, DEVICE_BLOCK = 2**13, 2**22
"""Numbers made at a time. *Chosen*: those of the host stay in its cache and take no pages anew,
those of a device take 32 MiB in float64.
"""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """The numbers that belong to a key.

    Attributes
    ----------
    key : tuple of int
        Two words of 64 bits.
    """

    key: tuple[int, int]

    def below(self, top: int, count: int, like: Array) -> Array:
        """Return the first `count` whole numbers in 0..top-1, int64, where `like` is."""
        return self._parts(lambda halves: _below(halves, top), "int64", count, like)

    def entries(self, values: tuple[float, ...], count: int, like: Array, dtype: str) -> Array:
        """Return the first `count` draws among values of equal probability."""

        def chosen(halves: Array) -> Array:
            table = _arrays.from_host(np.asarray(values, dtype), halves)
            return space(halves).take(table, _below(halves, len(values)), axis=0)

        return self._parts(chosen, dtype, count, like)

    def normal(self, count: int, like: Array, scale: float, dtype: str) -> Array:
        """Return the first `count` normal numbers times `scale`, computed in float64 and rounded to
        a dtype, where `like` is.
        """
        return self._parts(lambda halves: _normal_pairs(halves, scale), dtype, count, like)

    def _parts(self, make: Any, dtype: str, count: int, like: Array) -> Array:
        """Return what `make` gives for the halves, block by block."""
        if not far(like):
            words, out = self._words(), np.empty(count, dtype)
            for first in range(0, count, HOST_BLOCK):
                part = out[first : first + HOST_BLOCK]
                raw = words.random_raw(-(-part.size // 2)).astype("<u8", copy=False)
                part[...] = make(raw.view("<u4"))[: part.size]
            return _arrays.from_host(out, like)
        xp = _arrays.namespace(x=like)
        parts = []
        for first in range(0, max(count, 1), DEVICE_BLOCK):
            size = min(DEVICE_BLOCK, count - first)
            blocks = -(-size // OF_BLOCK)
            halves = device_halves(self.key, first // OF_BLOCK, blocks, like)
            parts.append(_arrays.cast(make(halves)[:size], dtype, xp))
        return parts[0] if len(parts) == 1 else xp.concat(parts)

    def _words(self) -> np.random.Philox:
        return np.random.Philox(key=np.array(self.key, np.uint64))


def stream(rng: np.random.Generator) -> Stream:
    """Return the stream of a key that is drawn."""
    first, second = rng.integers(0, 2**64, 2, dtype=np.uint64)
    return Stream(key=(int(first), int(second)))


class Once:
    """A function of an array's place, and of whatever else it is given, that is asked once for
    each.
    """

    __slots__ = ("_find", "_found")

    def __init__(self, find: Callable[..., Array]) -> None:
        self._find, self._found = find, dict[Any, Array]()

    def __call__(self, like: Array, *more: Any) -> Array:
        """Return `find(like, *more)`."""
        place = type(like), str(_arrays.device(like)), more
        if place not in self._found:
            self._found[place] = self._find(like, *more)
        return self._found[place]


def _below(halves: Array, top: int) -> Array:
    return (_arrays.cast(halves, "int64", space(halves)) * top) >> 32


def _normal_pairs(halves: Array, scale: float) -> Array:
    """Return normal numbers, shape (2 m,) -> (2 m,), float64."""
    xp = space(halves)
    a, b = (_arrays.cast(x, "float64", xp) for x in (halves[0::2], halves[1::2]))
    radius = xp.sqrt(xp.log((a + 0.5) * 2.0**-32) * (-2.0 * scale * scale))
    half = xp.tan((b - 2.0**31) * (math.pi * 2.0**-32))
    square = half * half
    radius = radius / (1.0 + square)
    both = radius * (1.0 - square), radius * (half + half)
    return xp.reshape(xp.stack(both, axis=-1), (-1,))


def device_halves(key: tuple[int, int], first: int, blocks: int, like: Array) -> Array:
    """Return the halves of so many blocks from `first` on, int64, shape (8 blocks,), on the device
    of `like`.
    """
    xp, device = _arrays.namespace(x=like), _arrays.device(like)
    count = xp.arange(first + 1, first + 1 + blocks, dtype=xp.int64, device=device)
    none = xp.zeros_like(count)
    words = philox([count, none, none, none], key)
    halves = [half for word in words for half in (word & _LOW, (word >> 32) & _LOW)]
    return xp.reshape(xp.stack(halves, axis=-1), (-1,))


def philox(counters: list[Array], key: tuple[int, int]) -> list[Array]:
    """Return the four words of counters given by theirs, int64, each of shape (blocks,)."""
    xp, (c0, c1, c2, c3) = _arrays.namespace(x=counters[0]), counters
    outer, inner = xp.stack([c0, c2]), xp.stack([c1, c3])  # (2, blocks)
    constants = _arrays.from_host(_constants(key), c0)
    for i in range(ROUNDS):
        high, low = _product(outer, constants[0, ...], constants[1, ...], constants[2, ...])
        outer = xp.flip(high, axis=0) ^ inner ^ constants[3 + i, ...]
        inner = xp.flip(low, axis=0)
    return [outer[0, :], inner[0, :], outer[1, :], inner[1, :]]


def _product(c: Array, whole: Array, high: Array, low: Array) -> tuple[Array, Array]:
    """Return the high and the low word of c times a number, given whole and in halves."""
    c_low, c_high = c & _LOW, (c >> 32) & _LOW
    ll, lh, hl = low * c_low, low * c_high, high * c_low
    middle = ((ll >> 32) & _LOW) + (lh & _LOW) + (hl & _LOW)
    upper = high * c_high + ((lh >> 32) & _LOW) + ((hl >> 32) & _LOW) + (middle >> 32)
    return upper, whole * c


@functools.lru_cache(maxsize=64)
def _constants(key: tuple[int, int]) -> HostArray:
    """Return the multipliers, their high and low halves, and the keys of the rounds, int64, shape
    (3 + rounds, 2, 1).
    """
    rows = [_MULTIPLIERS, [m >> 32 for m in _MULTIPLIERS], [m & _LOW for m in _MULTIPLIERS]]
    rows += [[(k + i * w) % 2**64 for k, w in zip(key, _WEYL, strict=True)] for i in range(ROUNDS)]
    return np.array(rows, np.uint64).astype(np.int64)[..., None]
