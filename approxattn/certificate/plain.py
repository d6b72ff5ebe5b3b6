"""Results as what JSON knows: dicts, lists, numbers, strings and None."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from approxattn import _arrays


def plain(x: Any, *, arrays: bool) -> Any:
    """Return the value with nothing in it that `json.dumps` refuses.

    Parameters
    ----------
    x : object
        Numbers, strings, arrays, mappings, sequences and dataclasses, within each other; anything
        else becomes its `str`.
    arrays : bool
        Whether arrays are written out; otherwise their shape and dtype are, and nothing is read.

    Returns
    -------
    object
        Infinities and NaN as the strings "inf", "-inf", "nan".
    """
    if x is None or isinstance(x, bool | str):
        return x
    if isinstance(x, np.generic):
        return plain(x.item(), arrays=arrays)
    if isinstance(x, int | float):
        return x if math.isfinite(x) else str(float(x))
    if hasattr(x, "_asdict"):
        x = x._asdict()
    if isinstance(x, Mapping):
        return {str(key): plain(value, arrays=arrays) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [plain(value, arrays=arrays) for value in x]
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return _array(x, arrays)
    if hasattr(x, "to_dict"):
        return x.to_dict(arrays=arrays)
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        names = [field.name for field in dataclasses.fields(x) if not field.name.startswith("_")]
        fields = {name: plain(getattr(x, name), arrays=arrays) for name in names}
        return {"record": type(x).__name__, **fields}
    return str(x)


def _array(x: Any, written: bool) -> Any:
    if not written:
        return {"shape": list(x.shape), "dtype": _arrays.dtype_name(x)}
    host = _arrays.to_float64(x) if _arrays.is_floating(x) else _arrays.to_host(x)
    return _finite(host.tolist())


def _finite(values: Any) -> Any:
    """Return nested lists of numbers with strings for what is not finite."""
    if isinstance(values, list):
        return [_finite(value) for value in values]
    return str(values) if isinstance(values, float) and not math.isfinite(values) else values
