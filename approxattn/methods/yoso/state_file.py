"""States of hash tables on the disk, each number checked when it comes back.

1. What `methods.states.files` checks of any.
2. Dtypes and shapes fit each other; numbers are finite, counts and widths not negative.
3. Every table adds up to the sum of the values, whichever hash it belongs to, and that is at most
   their width in size.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from approxattn._arrays import HostArray
from approxattn.hashing.directions import ZERO_ROWS
from approxattn.methods.states.files import StateFile, need, number_of

WORDS = {
    "hashing": ("gaussian", "hadamard"),
    "zero_rows": ZERO_ROWS,
    "dtype": ("float32", "float64"),
}
NUMBERS = ("bits", "hashes", "confidence")
ARRAYS = ("normals", "tables", "widths", "keys")


def _arrays_of(state: Any) -> dict[str, Any]:
    return {name: getattr(state, name) for name in (*WORDS, *NUMBERS, *ARRAYS)}


def _fields(arrays: dict[str, HostArray]) -> dict[str, Any]:
    words = {name: str(arrays[name]) for name in WORDS}
    for name, choices in WORDS.items():
        need(words[name] in choices, f"{name} is {words[name]!r}")
    numbers = {name: number_of(arrays, name) for name in NUMBERS}
    bits, hashes = int(numbers["bits"]), int(numbers["hashes"])
    need(1 <= bits <= 20 and hashes >= 1, "it has other hashes")
    need(0 < numbers["confidence"] < 1, f"confidence is {numbers['confidence']}")
    normals, tables, widths, keys = (arrays[name] for name in ARRAYS)
    need(normals.ndim == 3 and normals.shape[:2] == (hashes, bits), "normals have no such shape")
    need(tables.ndim >= 2 and tables.shape[-2] == hashes << bits, "tables have no such shape")
    batch, dv = tables.shape[:-2], tables.shape[-1]
    need(widths.shape == (*batch, dv) and keys.shape == batch, "widths and keys do not fit")
    need(keys.dtype.kind in "iu" and np.all(keys >= 0), "keys are no counts")
    need(tables.dtype == widths.dtype == np.float64, "tables and widths are not float64")
    for name in ("normals", "tables", "widths"):
        need(arrays[name].dtype.kind == "f", f"{name} are no numbers")
        need(np.all(np.isfinite(arrays[name])), f"{name} are not finite")
    need(np.all(widths >= 0), "widths are negative")
    sums = tables.reshape(*batch, hashes, 1 << bits, dv).sum(axis=-2)
    slack = 1e-6 * widths[..., None, :]
    need(np.all(np.abs(sums - sums[..., :1, :]) <= slack), "its tables disagree")
    need(np.all(np.abs(sums) <= widths[..., None, :] + slack), "tables and widths disagree")
    named = {name: arrays[name] for name in ARRAYS}
    return {**words, "bits": bits, "hashes": hashes, "confidence": numbers["confidence"], **named}


FILE = StateFile(
    format="approxattn hash tables state 1",
    names=frozenset({*WORDS, *NUMBERS, *ARRAYS}),
    writer="YosoState.save",
    arrays=_arrays_of,
    fields=_fields,
)
