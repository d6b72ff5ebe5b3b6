"""Read queries, keys and values from a file: NumPy's .npz and .npy, and .safetensors, without any
further library.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from approxattn._arrays import HostArray

NAMES = ("q", "k", "v")

# Halves of bfloat16 are the upper halves of float32.
_SAFETENSORS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
}


def read_qkv(path: Path) -> tuple[HostArray, HostArray, HostArray]:
    """Read q, k, v: arrays of these names (in either case) of an .npz or .safetensors, or the three
    entries of the first axis of an .npy.

    Raises
    ------
    ValueError
        For another suffix, a missing array, a first axis other than 3, or a file that is not what
        its name says.
    """
    if path.suffix == ".npy":
        stacked = np.load(path, allow_pickle=False)
        if stacked.ndim < 3 or stacked.shape[0] != 3:
            msg = (
                f"{path} holds an array of shape {stacked.shape}: it must be (3, ..., n, d), q, k "
                "and v one after the other; use .npz for unequal shapes"
            )
            raise ValueError(msg)
        return stacked[0], stacked[1], stacked[2]
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as stored:
            return _pick(
                path,
                {name: stored[name] for name in stored.files if name.lower() in NAMES},
                stored.files,
            )
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    msg = f"{path} ends in {path.suffix!r}: it must be .npz, .npy or .safetensors"
    raise ValueError(msg)


def _read_safetensors(path: Path) -> tuple[HostArray, HostArray, HostArray]:
    """The format: the length of the header in 8 bytes, the header as JSON (name -> dtype, shape,
    first and last byte), the bytes.
    """
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
    except ValueError as error:
        msg = f"{path} has no readable header: it is no .safetensors file, or it is cut short"
        raise ValueError(msg) from error
    found = {}
    for name, entry in header.items():
        if name.lower() in NAMES:
            found[name] = _tensor(path, name, entry, data[8 + length :])
    return _pick(path, found, [name for name in header if name != "__metadata__"])


def _tensor(path: Path, name: str, entry: dict[str, Any], data: bytes) -> HostArray:
    kind, shape = str(entry["dtype"]), [int(n) for n in entry["shape"]]
    start, end = (int(place) for place in entry["data_offsets"])
    if kind not in _SAFETENSORS:
        msg = f"{name} in {path} has dtype {kind}: known are {', '.join(_SAFETENSORS)}"
        raise ValueError(msg)
    size = math.prod(shape) * np.dtype(_SAFETENSORS[kind]).itemsize
    if not 0 <= start <= end <= len(data) or end - start != size:
        msg = (
            f"{name} in {path} should take {size} bytes, of which "
            f"{max(0, min(end, len(data)) - start)} are there: the file is cut short"
        )
        raise ValueError(msg)
    raw = np.frombuffer(data[start:end], dtype=_SAFETENSORS[kind])
    if kind == "BF16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.reshape(shape)


def _pick(
    path: Path, found: dict[str, HostArray], stored: list[str]
) -> tuple[HostArray, HostArray, HostArray]:
    by_name = {name.lower(): array for name, array in found.items()}
    missing = [name for name in NAMES if name not in by_name]
    if missing:
        msg = (
            f"{path} holds {', '.join(stored) or 'nothing'}, but no {', '.join(missing)}: name the "
            "arrays q, k and v"
        )
        raise ValueError(msg)
    return by_name["q"], by_name["k"], by_name["v"]
