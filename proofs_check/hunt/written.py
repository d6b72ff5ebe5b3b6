"""A problem as plain JSON: every number exactly, NaN and infinity as strings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from proofs_check.hunt.problems import Posed

Host = np.ndarray[Any, Any]

LARGEST = 600
"""Numbers that a finding carries at most; a larger problem follows from its chunk only."""


def plain(a: Host) -> dict[str, Any]:
    """Return an array as nested lists with its dtype; floats print so that they read back."""
    return {"dtype": str(a.dtype), "shape": list(a.shape), "data": [_number(x) for x in a.flat]}


def _number(x: Any) -> Any:
    if isinstance(x, np.bool_):
        return bool(x)
    value = float(x)
    return value if math.isfinite(value) else str(value)


def array(given: Mapping[str, Any]) -> Host:
    """Return the array that `plain` wrote."""
    data = [float(x) if isinstance(x, str) else x for x in given["data"]]
    return np.array(data, given["dtype"]).reshape(given["shape"])


def as_json(posed: Posed) -> dict[str, Any] | None:
    """Return problems as plain JSON; None when they hold too many numbers."""
    weights = posed.extra.get("weights", {})
    if sum(a.size for a in (*posed.arrays.values(), *weights.values())) > LARGEST:
        return None
    extra = {} if not posed.extra else {"plan": posed.extra["plan"]}
    return {
        "arrays": {name: plain(a) for name, a in posed.arrays.items()},
        "weights": {name: plain(a) for name, a in weights.items()},
        "mask": None if posed.mask is None else plain(posed.mask),
        "scale": posed.scale,
        "causal": posed.causal,
        "outer": posed.outer,
        "rubbish": posed.rubbish,
        "seed": posed.seed,
        "order": _order(posed.order),
        "softcap": posed.softcap,
        **extra,
    }


def _order(order: Mapping[str, Any]) -> dict[str, Any]:
    segments = order.get("segments")
    rows = {} if segments is None else {"segments": [x.tolist() for x in segments]}
    return {**order, **rows}


def _read_order(given: Mapping[str, Any]) -> dict[str, Any]:
    order = dict(given)
    if "window" in order:
        order["window"] = tuple(order["window"])
    if "segments" in order:
        order["segments"] = tuple(np.array(x) for x in order["segments"])
    return order


def from_json(given: Mapping[str, Any]) -> Posed:
    """Return the problems that `as_json` wrote."""
    extra: dict[str, Any] = {}
    if "plan" in given:
        weights = {name: array(a) for name, a in given["weights"].items()}
        extra = {"plan": given["plan"], "weights": weights}
    return Posed(
        arrays={name: array(a) for name, a in given["arrays"].items()},
        mask=None if given["mask"] is None else array(given["mask"]),
        extra=extra,
        order=_read_order(given.get("order", {})),
        softcap=given.get("softcap"),
        **{name: given[name] for name in ("scale", "causal", "outer", "rubbish", "seed")},
    )
