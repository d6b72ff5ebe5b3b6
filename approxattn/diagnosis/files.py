"""Read queries, keys and values from a file: NumPy's .npz and .npy, and .safetensors, without any
further library.
"""

from __future__ import annotations

import json
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
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


_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,  # a damaged header may claim terabytes
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the readers of the formats raise at a file that is cut short, damaged, or something else."""


class FileFormatError(ValueError):
    """A file does not hold q, k and v; the message names it, and says what it should hold."""


def read_qkv(path: Path) -> tuple[HostArray, HostArray, HostArray]:
    """Read q, k and v from a file.

    They are arrays of these names, in either case, of an .npz or .safetensors, or the three entries
    of the first axis of an .npy.

    Raises
    ------
    FileFormatError
        For another suffix, a missing array, a first axis other than 3, or a file that is not what
        its name says.
    OSError
        When the file cannot be opened.
    """
    read = _READERS.get(path.suffix)
    if read is None:
        is_what = "is a folder" if path.is_dir() else f"ends in {path.suffix!r}"
        msg = f"{path} {is_what}: it must be .npz, .npy or .safetensors"
        raise FileFormatError(msg)
    try:
        return read(path)
    except FileFormatError:
        raise
    except _UNREADABLE as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        msg = (
            f"{path} cannot be read as {path.suffix} ({why}): it is cut short, damaged, or "
            "something else; save it again"
        )
        raise FileFormatError(msg) from error


def _read_npy(path: Path) -> tuple[HostArray, HostArray, HostArray]:
    with path.open("rb") as file:
        stacked = np.lib.format.read_array(file, allow_pickle=False)
    if stacked.ndim < 3 or stacked.shape[0] != 3:
        msg = (
            f"{path} holds an array of shape {stacked.shape}: it must be (3, ..., n, d), q, k "
            "and v one after the other; use .npz for unequal shapes"
        )
        raise FileFormatError(msg)
    return stacked[0], stacked[1], stacked[2]


def _read_npz(path: Path) -> tuple[HostArray, HostArray, HostArray]:
    with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files if name.lower() in NAMES}
        return _pick(path, arrays, stored.files)


def _read_safetensors(path: Path) -> tuple[HostArray, HostArray, HostArray]:
    """The format: the length of the header in 8 bytes, the header as JSON (name -> dtype, shape,
    first and last byte), the bytes.
    """
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    try:
        header = dict(json.loads(data[8 : 8 + length]))
    except (RecursionError, TypeError, ValueError) as error:
        msg = f"{path} has no readable header: it is no .safetensors file, or it is cut short"
        raise FileFormatError(msg) from error
    tensors = {
        name: _tensor(path, name, entry, data[8 + length :])
        for name, entry in header.items()
        if name.lower() in NAMES
    }
    return _pick(path, tensors, [name for name in header if name != "__metadata__"])


def _tensor(path: Path, name: str, entry: dict[str, Any], data: bytes) -> HostArray:
    kind, shape = str(entry["dtype"]), [int(n) for n in entry["shape"]]
    start, end = (int(place) for place in entry["data_offsets"])
    if kind not in _SAFETENSORS:
        msg = f"{name} in {path} has dtype {kind}: known are {', '.join(_SAFETENSORS)}"
        raise FileFormatError(msg)
    if any(n < 0 for n in shape):
        msg = f"{name} in {path} has shape {shape}: lengths of axes are at least 0"
        raise FileFormatError(msg)
    size = math.prod(shape) * np.dtype(_SAFETENSORS[kind]).itemsize
    if not 0 <= start <= end <= len(data) or end - start != size:
        there = max(0, min(end, len(data)) - start)
        msg = (
            f"{name} in {path} should take {size} bytes, of which {there} are there: the file is "
            "cut short"
        )
        raise FileFormatError(msg)
    raw = np.frombuffer(data[start:end], dtype=_SAFETENSORS[kind])
    if kind == "BF16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.reshape(shape)


_READERS: Mapping[str, Callable[[Path], tuple[HostArray, HostArray, HostArray]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
}


def _pick(
    path: Path, arrays: dict[str, HostArray], stored: list[str]
) -> tuple[HostArray, HostArray, HostArray]:
    by_name = {name.lower(): array for name, array in arrays.items()}
    missing = [name for name in NAMES if name not in by_name]
    if missing:
        msg = (
            f"{path} holds {', '.join(stored) or 'nothing'}, but no {', '.join(missing)}: name the "
            "arrays q, k and v"
        )
        raise FileFormatError(msg)
    strange = [name for name in NAMES if not isinstance(by_name[name], np.ndarray)]
    if strange:
        msg = f"{path} holds {strange[0]}, but that is no array: save it again"
        raise FileFormatError(msg)
    return by_name["q"], by_name["k"], by_name["v"]
