"""Matrices with structure, in stacks: what certificates have been found to stumble over.

Everything is *chosen*. Entries are of size one; `scales` makes them huge or tiny.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]
Maker = Callable[[np.random.Generator, int, int, int], Host]


def _gaussian(rng: np.random.Generator, m: int, n: int, d: int) -> Host:
    return rng.standard_normal((m, n, d))


def _uniform(rng: np.random.Generator, m: int, n: int, d: int) -> Host:
    return rng.uniform(-1, 1, (m, n, d))


def _integers(rng: np.random.Generator, m: int, n: int, d: int) -> Host:
    return rng.integers(-3, 4, (m, n, d)).astype(np.float64)


def _clustered(rng: np.random.Generator, m: int, n: int, d: int) -> Host:
    centres = rng.standard_normal((m, 2, d))
    near = np.exp2(rng.integers(-20, 0, (m, 1, 1))) * rng.standard_normal((m, n, d))
    return np.take_along_axis(centres, rng.integers(0, 2, (m, n, 1)), axis=1) + near


def _duplicates(rng: np.random.Generator, m: int, n: int, d: int) -> Host:
    rows = rng.standard_normal((m, n, d))
    return np.take_along_axis(rows, rng.integers(0, min(n, 2), (m, n, 1)), axis=1)


def _zero_rows(rng: np.random.Generator, m: int, n: int, d: int) -> Host:
    return np.where(rng.random((m, n, 1)) < 0.5, 0.0, rng.standard_normal((m, n, d)))


def _dominating(rng: np.random.Generator, m: int, n: int, d: int) -> Host:
    rows = np.arange(n)[None, :, None] == rng.integers(0, n, (m, 1, 1))
    return rng.standard_normal((m, n, d)) * np.where(rows, 1.0, np.exp2(rng.integers(-30, 0)))


def _collinear(rng: np.random.Generator, m: int, n: int, d: int) -> Host:
    return rng.standard_normal((m, n, 1)) * rng.standard_normal((m, 1, d))


def _alternating(rng: np.random.Generator, m: int, n: int, d: int) -> Host:
    signs = np.where(np.arange(n) % 2, -1.0, 1.0)[None, :, None]
    return signs * np.abs(rng.standard_normal((m, 1, d))) + 0.0 * rng.random((m, n, d))


def _offset(rng: np.random.Generator, m: int, n: int, d: int) -> Host:
    small = np.exp2(rng.integers(-24, -4, (m, 1, 1)))
    return rng.choice([-1.0, 1.0], (m, 1, d)) + small * rng.standard_normal((m, n, d))


def _mixed_rows(rng: np.random.Generator, m: int, n: int, d: int) -> Host:
    return rng.standard_normal((m, n, d)) * np.exp2(rng.integers(-60, 1, (m, n, 1)))


def _mixed_entries(rng: np.random.Generator, m: int, n: int, d: int) -> Host:
    return rng.standard_normal((m, n, d)) * np.exp2(rng.integers(-60, 1, (m, n, d)))


def _constant(rng: np.random.Generator, m: int, n: int, d: int) -> Host:
    return np.broadcast_to(rng.choice([-1.0, 1.0], (m, 1, 1)), (m, n, d))


def _one_entry(rng: np.random.Generator, m: int, n: int, d: int) -> Host:
    place = np.arange(n * d).reshape(1, n, d) == rng.integers(0, n * d, (m, 1, 1))
    return np.where(place, rng.standard_normal((m, 1, 1)), 0.0)


STRUCTURES: dict[str, Maker] = {
    "gaussian": _gaussian,
    "uniform": _uniform,
    "integers": _integers,
    "clustered": _clustered,
    "duplicates": _duplicates,
    "zero rows": _zero_rows,
    "dominating": _dominating,
    "collinear": _collinear,
    "alternating": _alternating,
    "offset": _offset,
    "mixed rows": _mixed_rows,
    "mixed entries": _mixed_entries,
    "constant": _constant,
    "one entry": _one_entry,
}


def stack(rng: np.random.Generator, count: int, n: int, d: int) -> Host:
    """Return `count` matrices of n rows, shape (count, n, d), each of a structure of its own."""
    makers = list(STRUCTURES.values())
    chosen = rng.integers(0, len(makers), count)
    result = np.empty((count, n, d))
    for number in np.unique(chosen):
        places = np.flatnonzero(chosen == number)
        result[places] = makers[number](rng, places.size, n, d)
    return result
