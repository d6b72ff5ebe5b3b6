"""Sizes over the whole range of a dtype, for q, k, v and the cotangent separately.

A call is refused as a whole where the largest entries of its items together could overflow, so the
items of one call stay below common ceilings. Everything is *chosen*.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Host = np.ndarray[Any, Any]

RANGES = {"float16": (-24, 14), "float32": (-149, 126), "float64": (-1074, 1022)}
"""Exponents of two: the smallest subnormal, and a little below the largest number."""


class Exponents(NamedTuple):
    """Sizes of the items, powers of two, each of shape (count,)."""

    q: Host
    k: Host
    v: Host
    g: Host


def ordinary(rng: np.random.Generator, count: int, dtype: str) -> Exponents:
    """Return sizes near one: scores from 2^-20 to 2^5, values and cotangents over a few decades."""
    score = int(rng.choice([-20, -6, -3, -1, 0, 0, 1, 1, 2, 3, 5]))
    turn = int(rng.integers(-4, 5))
    step = 4 if dtype == "float16" else 20
    tops = (turn, score - turn, int(rng.integers(-step, step + 1)), int(rng.integers(-step, step)))
    return _below(rng, count, tops, dtype)


def extreme(rng: np.random.Generator, count: int, dtype: str) -> Exponents:
    """Return sizes anywhere in the dtype: balanced products, or products that leave its range."""
    low, high = RANGES[dtype]
    q = _anywhere(rng, low, high)
    style = rng.integers(0, 5)
    if style < 2:
        k = int(rng.integers(-6, 6)) - q
    elif style == 2:
        k = _anywhere(rng, low, high)
    else:
        k = -q + int(rng.integers(-60, 0))
    if style == 4:
        return _below(rng, count, _small_times_large(rng, low, high), dtype)
    v, g = _anywhere(rng, low, high), _anywhere(rng, low, high)
    if rng.random() < 0.5:  # else most cotangents would overflow with the values
        v = min(v, high - max(g, 0))
    if rng.random() < 0.3:
        v = int(rng.integers(-2, 3))
    if rng.random() < 0.3:
        g = int(rng.integers(-2, 3))
    return _below(rng, count, (q, k, v, g), dtype)


def _small_times_large(rng: np.random.Generator, low: int, high: int) -> tuple[int, int, int, int]:
    """Return queries (or keys) whose products lose bits below the range, under values and
    cotangents that bring the loss back to an ordinary size.
    """
    small = int(rng.integers(low, min(low + 64, 0)))
    large = high - int(rng.integers(0, max(2, high // 3)))
    v = int(rng.integers(0, large + 1))
    other = int(rng.integers(0, min(-small, high) + 1))
    q, k = (small, other) if rng.integers(0, 2) else (other, small)
    return q, k, v, large - v


def _anywhere(rng: np.random.Generator, low: int, high: int) -> int:
    """Return an exponent of the range, its ends more often than the rest: below are subnormals, and
    what a small scale makes subnormal.
    """
    where = rng.integers(0, 6)
    if where == 0:
        return int(rng.integers(low, min(low + 64, high + 1)))
    return int(rng.integers(high - 3, high + 1) if where == 1 else rng.integers(low, high + 1))


def _below(
    rng: np.random.Generator, count: int, tops: tuple[int, int, int, int], dtype: str
) -> Exponents:
    """Return sizes of the items: near the ceilings, or anywhere below them."""
    low, high = RANGES[dtype]
    found = []
    anywhere = rng.random() < 0.25
    for top in tops:
        ceiling = min(max(top, low), high)
        if anywhere:
            found.append(rng.integers(low, ceiling + 1, count))
        else:
            found.append(np.maximum(ceiling - rng.geometric(0.4, count) + 1, low))
    return Exponents(*found)


def sized(unit: Host, exponents: Host, dtype: str) -> Host:
    """Return the stack scaled item by item and rounded to the dtype; what overflows is cut off."""
    top = float(np.finfo(dtype).max)
    with np.errstate(all="ignore"):
        scaled = np.ldexp(unit, exponents[:, None, None].astype(np.int64))
        return np.clip(scaled, -top, top).astype(dtype)
