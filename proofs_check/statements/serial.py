"""Exact JSON: every number a verdict or a witness carries survives a round trip bit for bit.

JSON has one inexact number type, so each kind is tagged. A float is written as its decimal value
and, beside it, its ``float.hex``. A rational is written as ``"p/q"``, an array as dtype, shape and
the hexadecimal of every entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

__all__ = ["decode", "dumps", "encode", "loads", "to_python"]

_TAGS = frozenset({"float", "fraction", "array"})


def encode(value: Any) -> Any:
    """Turn numbers, strings, arrays, sequences and string-keyed mappings into tagged JSON data.

    Raises
    ------
    TypeError
        For any other type: a witness that cannot be written down cannot be replayed.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic):
        return encode(value.item())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        finite = value == value and abs(value) != float("inf")
        return {"float": value if finite else None, "hex": value.hex()}
    if isinstance(value, Fraction):
        return {"fraction": f"{value.numerator}/{value.denominator}"}
    if isinstance(value, np.ndarray):
        return {"array": _encode_array(value)}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return _encode_mapping(value)
    msg = (
        f"value(={value!r}) of type {type(value).__name__} has no exact JSON form: use bool, int, "
        "float, Fraction, str, NumPy arrays, or lists and string-keyed dicts of these"
    )
    raise TypeError(msg)


def _encode_mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str) or key in _TAGS:
            msg = f"key(={key!r}) cannot name an entry: keys are strings other than {sorted(_TAGS)}"
            raise TypeError(msg)
    return {key: encode(item) for key, item in value.items()}


def _encode_array(value: np.ndarray) -> dict[str, Any]:
    if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
        msg = (
            f"array of dtype(={value.dtype}) has no exact JSON form: use booleans, integers or "
            "floats up to 64 bits"
        )
        raise TypeError(msg)
    flat = value.ravel().tolist()
    entries = [x.hex() if isinstance(x, float) else int(x) for x in flat]
    return {"dtype": value.dtype.name, "shape": list(value.shape), "entries": entries}


def decode(data: Any) -> Any:
    """Undo `encode`; sequences come back as tuples, so that a decoded witness cannot be changed by
    accident.
    """
    if isinstance(data, list):
        return tuple(decode(item) for item in data)
    if not isinstance(data, dict):
        return data
    if "hex" in data and "float" in data:
        return float.fromhex(data["hex"])
    if "fraction" in data:
        return Fraction(data["fraction"])
    if "array" in data:
        return _decode_array(data["array"])
    return {key: decode(item) for key, item in data.items()}


def _decode_array(data: dict[str, Any]) -> np.ndarray:
    entries = [float.fromhex(x) if isinstance(x, str) else x for x in data["entries"]]
    return np.array(entries, dtype=data["dtype"]).reshape(data["shape"])


def dumps(value: Any) -> str:
    """Canonical text: sorted keys, no spaces, no NaN literals; equal values give equal text."""
    return json.dumps(
        encode(value), sort_keys=True, allow_nan=False, separators=(",", ":"), ensure_ascii=False
    )


def loads(text: str) -> Any:
    """Undo `dumps`."""
    return decode(json.loads(text))


def to_python(value: Any) -> str:
    """Write an encodable value as Python source that rebuilds it (needs ``np`` and ``Fraction`` in
    scope).
    """
    if isinstance(value, np.generic):
        return to_python(value.item())
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return f'float("{value}")'
    if isinstance(value, np.ndarray):
        entries = ", ".join(to_python(x) for x in value.ravel().tolist())
        return f'np.array([{entries}], dtype="{value.dtype.name}").reshape({value.shape!r})'
    if isinstance(value, tuple | list):
        inner = ", ".join(to_python(x) for x in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {to_python(item)}" for key, item in value.items()) + "}"
    return repr(value)
