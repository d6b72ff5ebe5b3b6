"""Files of states: .npz archives of plain arrays, whose numbers are checked when they come back.

What is checked of any of them: it is an archive of uncompressed .npy arrays with the names that the
state gives. Sizes are compared with that of the file before anything is read, so a header cannot
ask for the memory.
"""

from __future__ import annotations

import ast
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from approxattn._arrays import HostArray
from approxattn.whole_files import whole_file

LONGEST_HEADER = 10_000
"""Characters of the header of an array. *Chosen*: NumPy's own limit."""

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What reading a damaged or foreign file raises."""


@dataclass(frozen=True, kw_only=True)
class StateFile:
    """How the states of one kind stand in a file.

    Parameters
    ----------
    format : str
        What such a file calls itself; the array "format" of each.
    names : frozenset of str
        Of all its other arrays.
    writer : str
        What a user writes such a file with, for messages.
    arrays : callable
        From a state to its arrays by name.
    fields : callable
        From arrays of those names to the fields of a state, on the host; it raises what `need`
        does.
    """

    format: str
    names: frozenset[str]
    writer: str
    arrays: Callable[[Any], dict[str, Any]]
    fields: Callable[[dict[str, HostArray]], dict[str, Any]]

    def write(self, state: Any, path: Path) -> None:
        """Write a state, whole or not at all."""
        with whole_file(path) as place, place.open("wb") as file:
            np.savez(file, format=self.format, **self.arrays(state))

    def read(self, path: Path) -> dict[str, Any]:
        """Return the fields of the state in a file.

        Raises
        ------
        ValueError
            If the file is none of the kind, or damaged; the message names it.
        """
        try:
            with path.open("rb") as file:
                return self._checked(_read_arrays(file, self.names | {"format"}))
        except DAMAGE as error:
            why = str(error) or type(error).__name__
            msg = f"path(={str(path)!r}) holds no {self.format}: {why}; write it with {self.writer}"
            raise ValueError(msg) from error

    def _checked(self, arrays: dict[str, HostArray]) -> dict[str, Any]:
        own = arrays["format"]
        need(own.shape == () and str(own) == self.format, "it has another format")
        return self.fields(arrays)


def need(holds: object, rule: str) -> None:
    """Raise ValueError with the rule that is broken."""
    if not bool(holds):
        raise ValueError(rule)


def _read_arrays(file: IO[bytes], names_wanted: frozenset[str]) -> dict[str, HostArray]:
    arrays = {}
    whole = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename.removesuffix(".npy") for member in members]
        wanted = set(names) == names_wanted and len(names) == len(names_wanted)
        need(wanted, "it has other arrays")
        sizes = sum(member.file_size for member in members)
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        need(stored and sizes <= whole, "its arrays are compressed, or larger than the file")
        for name, member in zip(names, members, strict=True):
            arrays[name] = _read_array(archive.read(member))
    return arrays


def _read_array(data: bytes) -> HostArray:
    """Return the array of an .npy file whose header promises no more than there is."""
    need(data[:6] == b"\x93NUMPY" and data[6] in (1, 2, 3), "an array has no header")
    width = 2 if data[6] == 1 else 4
    length = int.from_bytes(data[8 : 8 + width], "little")
    start = 8 + width + length
    need(length <= LONGEST_HEADER and start <= len(data), "an array has a damaged header")
    header = ast.literal_eval(data[8 + width : start].decode("latin1").strip())
    dtype, shape = np.dtype(header["descr"]), tuple(header["shape"])
    need(dtype.kind in "fiuU" and dtype.isnative, "an array is not of plain numbers")
    need(all(type(n) is int and n >= 0 for n in shape), "an array has no shape")
    need(math.prod(shape) * dtype.itemsize == len(data) - start, "an array is cut")
    flat = np.frombuffer(data, dtype, offset=start)
    return flat.reshape(shape, order="F" if header["fortran_order"] else "C").copy()


def number_of(arrays: dict[str, HostArray], name: str) -> float:
    """Return the one number of that name."""
    need(arrays[name].shape == () and arrays[name].dtype.kind in "fiu", f"{name} is no number")
    return float(arrays[name])
