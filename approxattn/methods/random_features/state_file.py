"""States of random features on the disk, each number checked when it comes back.

1. What `methods.states.files` checks of any, and of the keys seen.
2. Dtypes and shapes fit each other. Logarithms are finite, or -inf for an item that has seen no
   key; the last column of the sums, a sum of positive terms the largest of which is 1, lies between
   1 and the number of keys.
3. Values lie in their range: each column of the sums lies within it times the last column.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn.methods.random_features.features import KINDS
from approxattn.methods.states.files import StateFile, need, number_of
from approxattn.methods.states.posing import SEEN, SeenKeys, checked_seen, seen_arrays

NUMBERS = ("features", "confidence", "scale", "steps")


def _arrays_of(state: Any) -> dict[str, Any]:
    arrays = {name: getattr(state, name) for name in ("kind", "directions", *NUMBERS)}
    arrays |= {name: _arrays.to_host(getattr(state, name)) for name in ("top", "sums")}
    return {**arrays, **seen_arrays(state.seen)}


def _fields(arrays: dict[str, HostArray]) -> dict[str, Any]:
    kind, numbers = str(arrays["kind"]), {name: number_of(arrays, name) for name in NUMBERS}
    need(kind in KINDS, f"its features are of kind {kind!r}")
    need(0 < numbers["confidence"] < 1, f"confidence is {numbers['confidence']}")
    need(0 < numbers["scale"] < np.inf, f"scale is {numbers['scale']}")
    need(1 <= numbers["steps"] < 2**62, f"steps are {numbers['steps']}")
    w, top, sums = (arrays[name] for name in ("directions", "top", "sums"))
    m = int(numbers["features"])
    need(w.ndim == 2 and len(w) == m >= 1 and w.dtype == np.float64, "it has other features")
    need(np.all(np.isfinite(w)), "directions are not finite")
    need(sums.dtype in (np.float32, np.float64) and top.dtype == sums.dtype, "its dtypes differ")
    need(sums.ndim >= 2 and sums.shape[-2] == m and sums.shape[-1] >= 1, "sums have no such shape")
    batch = sums.shape[:-2]
    need(top.shape == (*batch, 1, m), f"top has shape {top.shape}")
    seen = checked_seen(arrays, batch, sums.shape[-1] - 1)
    _check_sums(top, sums, seen)
    return {
        "features": m,
        "kind": kind,
        "confidence": numbers["confidence"],
        "scale": numbers["scale"],
        "directions": w,
        "top": top,
        "sums": sums,
        "seen": seen,
        "steps": int(numbers["steps"]),
    }


def _check_sums(top: HostArray, sums: HostArray, seen: SeenKeys) -> None:
    """Check steps 2 and 3 of the module, up to 1 part in 100: rounding is far below."""
    need(np.all(np.isfinite(sums)), "sums are not finite")
    some = (seen.keys > 0)[..., None, None]
    need(np.all(np.where(some, np.isfinite(top), np.isneginf(top))), "top and keys disagree")
    mass, keys = sums[..., -1:].astype(np.float64), seen.keys[..., None, None]
    within = (mass >= 0.99) & (mass <= 1.01 * keys)
    need(np.all(np.where(some, within, mass == 0)), "keys and sums disagree")
    high, low = (end[..., None, :] for end in seen.ends)
    slack = 0.01 * np.maximum(np.abs(high), np.abs(low)) * mass
    values = sums[..., :-1]
    inside = (values <= mass * high + slack) & (values >= mass * low - slack)
    need(np.all(inside | ~some), "the ranges of the values and the sums disagree")


FILE = StateFile(
    format="approxattn random features state 1",
    names=frozenset({"kind", "directions", "top", "sums", *NUMBERS, *SEEN}),
    writer="PerformerState.save",
    arrays=_arrays_of,
    fields=_fields,
)
