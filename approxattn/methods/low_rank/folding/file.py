"""States of block means on the disk, each number checked when it comes back.

1. What `methods.states.files` checks of any, and of the keys seen.
2. Dtypes and shapes fit each other; numbers are finite, counts and radii not negative, and counts
   add up to the number of keys.
3. Means of keys are no longer than the longest key, those of values lie in their range.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from approxattn._arrays import HostArray
from approxattn.bounds.scores import row_norms
from approxattn.methods.states.files import StateFile, need, number_of
from approxattn.methods.states.posing import SEEN, SeenKeys, checked_seen, seen_arrays

BLOCKS = {"block_keys": "keys", "block_values": "values", "counts": "counts", "radii": "radii"}
"""Names of the arrays of blocks in a file, and in the state."""

OTHERS = ("dtype", "rank", "scale", "lengths")


def _arrays_of(state: Any) -> dict[str, Any]:
    arrays = {name: getattr(state, own) for name, own in BLOCKS.items()}
    arrays |= {name: getattr(state, name) for name in OTHERS}
    return {**arrays, **seen_arrays(state.seen)}


def _fields(arrays: dict[str, HostArray]) -> dict[str, Any]:
    dtype, rank = str(arrays["dtype"]), int(number_of(arrays, "rank"))
    scale, lengths = number_of(arrays, "scale"), arrays["lengths"]
    need(dtype in ("float32", "float64"), f"dtype is {dtype!r}")
    need(0 < scale < np.inf and rank >= 1, f"scale is {scale}, rank {rank}")
    keys, values, counts, radii = (arrays[name] for name in BLOCKS)
    need(keys.ndim >= 2 and values.ndim == keys.ndim, "keys and values have other axes")
    shape = (*keys.shape[:-2], rank)
    for name in BLOCKS:
        need(arrays[name].shape[: len(shape)] == shape, f"{name} has shape {arrays[name].shape}")
        need(np.all(np.isfinite(arrays[name])), f"{name} are not finite")
    need(counts.shape == radii.shape == shape and lengths.shape == shape[:-1], "blocks do not fit")
    need(counts.dtype.kind in "iu" and lengths.dtype.kind in "iu", "counts are no counts")
    need(np.all(counts >= 0) and np.all(lengths >= 1), "counts are negative")
    need(keys.dtype == values.dtype == radii.dtype == np.float64, "means are not float64")
    need(np.all(radii >= 0), "radii are negative")
    seen = checked_seen(arrays, shape[:-1], values.shape[-1])
    _check_means(keys, values, counts, seen)
    named = {own: arrays[name] for name, own in BLOCKS.items()}
    return {**named, "rank": rank, "scale": scale, "dtype": dtype, "lengths": lengths, "seen": seen}


def _check_means(keys: HostArray, values: HostArray, counts: HostArray, seen: SeenKeys) -> None:
    """Check steps 2 and 3 of the module, up to rounding."""
    need(np.all(np.sum(counts, axis=-1) == seen.keys), "counts do not add up to the keys")
    some = counts > 0
    longest = seen.radius[..., None] * (1 + 1e-6) + 1e-300
    need(np.all((row_norms(keys, np) <= longest) | ~some), "a mean is longer than every key")
    high, low = (end[..., None, :] for end in seen.ends)
    slack = 1e-6 * np.maximum(np.abs(high), np.abs(low))
    inside = np.all((values <= high + slack) & (values >= low - slack), axis=-1)
    need(np.all(inside | ~some), "a mean of values is out of their range")


FILE = StateFile(
    format="approxattn block means state 1",
    names=frozenset({*BLOCKS, *OTHERS, *SEEN}),
    writer="LinformerState.save",
    arrays=_arrays_of,
    fields=_fields,
)
