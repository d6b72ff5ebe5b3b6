"""An evolution strategy: the problems whose error came nearest to its bound are changed a little,
again and again.

Everything starts from problems drawn in the same chunk, so that what is found follows from the
chunk's number alone. Steps and rates are *chosen*.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from proofs_check.hunt.problems import Posed

Host = np.ndarray[Any, Any]

GENERATIONS = 6
KEPT = 4
"""One problem in so many survives a generation."""

_KINDS = ("nudge", "nudge", "nudge", "size", "copy row", "zero row", "flip", "swap", "entry")


def next_generation(rng: np.random.Generator, posed: Posed, ratios: Host) -> Posed:
    """Return the best problems unchanged, and changed ones in the places of the others."""
    order = np.argsort(-ratios, kind="stable")
    kept = order[: max(1, posed.count // KEPT)]
    parents = kept[rng.integers(0, len(kept), posed.count)]
    parents[: len(kept)] = kept
    child = posed.take(parents)
    dtype = next(iter(child.arrays.values())).dtype
    top = float(np.finfo(dtype).max)
    arrays = {name: a.astype(np.float64) for name, a in child.arrays.items()}
    for item in range(len(kept), posed.count):
        for _ in range(1 + int(rng.geometric(0.6))):
            _change(rng, arrays, item)
    with np.errstate(all="ignore"):
        rounded = {
            name: np.nan_to_num(np.clip(a, -top, top)).astype(dtype) for name, a in arrays.items()
        }
    for name, a in child.arrays.items():  # what stands behind a mask stays
        rounded[name] = np.where(np.isfinite(a), rounded[name], a)
    return replace(child, arrays=rounded)


def _change(rng: np.random.Generator, arrays: dict[str, Host], item: int) -> None:
    names = list(arrays)
    name = names[int(rng.integers(0, len(names)))]
    a = arrays[name][item]
    n = a.shape[0]
    kind = _KINDS[int(rng.integers(0, len(_KINDS)))]
    with np.errstate(all="ignore"):
        if kind == "nudge":
            step = 2.0 ** -int(rng.integers(0, 24))
            top = np.max(np.abs(a), initial=0.0)
            relative = rng.integers(0, 2)
            a[:] = a + step * rng.standard_normal(a.shape) * (np.abs(a) if relative else top)
        elif kind == "size":
            a[:] = np.ldexp(a, int(rng.integers(-3, 4)))
        elif kind == "copy row":
            a[int(rng.integers(0, n))] = a[int(rng.integers(0, n))]
        elif kind == "zero row":
            a[int(rng.integers(0, n))] = 0
        elif kind == "flip":
            a[int(rng.integers(0, n))] *= -1
        elif kind == "swap":
            other = int(rng.integers(0, arrays[name].shape[0]))
            a[:] = arrays[name][other]
        else:
            place = int(rng.integers(0, n)), int(rng.integers(0, a.shape[1]))
            a[place] = np.ldexp(a[place], int(rng.integers(-20, 8)))
