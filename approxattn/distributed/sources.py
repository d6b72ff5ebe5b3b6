"""Arrays on the disk that a task reads its block from: .npy files and zarr arrays.

A source is small and pickles: it names a file, and the worker that needs some tokens reads these.
Arrays in memory go to the worker block by block.
"""

from __future__ import annotations

import hashlib
import importlib
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from approxattn._arrays import HostArray

SAMPLES, SAMPLED_ROWS = 64, 16
"""Places of a file, and rows at each, that its fingerprint is taken from, beside size and time of
the last change. *Chosen*.
"""
READ_AT_ONCE = 2**16
"""Tokens that are read at a time for a fingerprint of all of them. *Chosen*."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Tokens first..last-1 of a source, shape (..., last - first, m)."""

    source: Any
    first: int
    last: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the block."""
        *batch, _, m = self.source.shape
        return (*batch, self.last - self.first, m)

    def read(self, start: int, stop: int) -> HostArray:
        """Return some of the tokens, counted from the first of the block."""
        found: HostArray = self.source.tokens(self.first + start, min(self.last, self.first + stop))
        return found


@dataclass(frozen=True, kw_only=True)
class NpyFile:
    """An array in a .npy file, or in a part of a file that is mapped into memory."""

    path: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    def tokens(self, first: int, last: int) -> HostArray:
        """Return these tokens as an array of their own: no map is kept."""
        *batch, _, m = self.shape
        with Path(self.path).open("rb") as file:
            if not batch:
                file.seek(self.offset + first * m * self.dtype.itemsize)
                flat = np.fromfile(file, self.dtype, (last - first) * m)
                return _whole(flat, (last - first, m), self.path)
            whole = np.memmap(file, self.dtype, "r", self.offset, self.shape)
            return np.array(whole[..., first:last, :])

    def fingerprint(self) -> str:
        """Return what changes when the file does."""
        found = Path(self.path).stat()
        return _digest(self, str((found.st_size, found.st_mtime_ns)))


@dataclass(frozen=True, kw_only=True)
class ZarrArray:
    """A zarr array, opened anew by each task that is not handed the array itself."""

    array: Any

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its dtype."""
        found: np.dtype[Any] = np.dtype(self.array.dtype)
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.array.shape)

    def tokens(self, first: int, last: int) -> HostArray:
        """Return these tokens."""
        return np.ascontiguousarray(self.array[..., first:last, :])

    def fingerprint(self) -> str:
        """Return what changes when any number does: all of it is read."""
        return _of_all(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class InMemory:
    """A NumPy array."""

    array: HostArray

    @property
    def dtype(self) -> np.dtype[Any]:
        """Its dtype."""
        found: np.dtype[Any] = self.array.dtype
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.array.shape)

    def tokens(self, first: int, last: int) -> HostArray:
        """Return these tokens."""
        return self.array[..., first:last, :]

    def fingerprint(self) -> str:
        """Return what changes when any number does: all of it is read."""
        return _of_all(self)


Source = NpyFile | ZarrArray | InMemory


def source_of(name: str, x: Any) -> Source:
    """Return the source of an argument: a path, a memory map, a zarr array, an array.

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If it has fewer than two axes, or the file is cut or no array.
    OSError
        If it cannot be read.
    """
    source = _source(name, x)
    if len(source.shape) < 2:
        msg = f"{name} has shape {source.shape}: it needs (..., tokens, features)"
        raise ValueError(msg)
    return source


def _source(name: str, x: Any) -> Source:
    if isinstance(x, str | Path):
        path = Path(x)
        return _npy(name, path) if path.suffix == ".npy" else _zarr(name, path)
    if isinstance(x, np.ndarray):
        return _mapped(x) or InMemory(array=x)
    if type(x).__module__.partition(".")[0] == "zarr" and hasattr(x, "chunks"):
        return ZarrArray(array=x)
    msg = (
        f"{name} is {type(x).__name__}: give a path to a .npy file or a zarr array, a memory map, "
        "a zarr array or a NumPy array; for dask arrays there is approxattn.dask"
    )
    raise TypeError(msg)


def _npy(name: str, path: Path) -> NpyFile:
    try:
        with path.open("rb") as file:
            version = npy.read_magic(file)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = header(file)
            offset = file.tell()
            there = file.seek(0, 2) - offset
    except ValueError as error:
        msg = f"{name}: {path} is no .npy file ({error}): write it with numpy.save"
        raise ValueError(msg) from error
    if dtype.hasobject or (fortran and len(shape) > 1):
        why = "Python objects" if dtype.hasobject else "columns one after the other"
        msg = f"{name}: {path} holds {why}: save numpy.ascontiguousarray(...) of numbers"
        raise ValueError(msg)
    if there != dtype.itemsize * int(np.prod(shape, dtype=object)):
        msg = (
            f"{name}: {path} holds {there} bytes after its header, which promises {dtype} "
            f"{shape}: the file is cut, or still being written"
        )
        raise ValueError(msg)
    return NpyFile(path=str(path.resolve()), dtype=dtype, shape=shape, offset=offset)


def _zarr(name: str, path: Path) -> ZarrArray:
    if not path.exists():
        msg = f"{name}: there is no {path}"
        raise FileNotFoundError(msg)
    try:
        zarr: Any = importlib.import_module("zarr")
    except ImportError as error:
        msg = f"{name}: {path} needs zarr: pip install 'approxattn[dask]', or give a .npy file"
        raise ImportError(msg) from error
    try:
        return ZarrArray(array=zarr.open_array(str(path), mode="r"))
    except Exception as error:  # zarr has errors of its own, and more of them every year
        msg = f"{name}: {path} is neither a .npy file nor a zarr array ({error})"
        raise ValueError(msg) from error


def _mapped(x: Any) -> NpyFile | None:
    """Return where a memory map lies in its file, if it covers rows one after the other."""
    mapped = isinstance(x, np.memmap) and x.filename is not None and x.mode != "c"
    if not mapped or not x.flags.c_contiguous or not x.size:
        return None
    of_map = np.frombuffer(x._mmap, np.uint8).ctypes.data
    begins = x.offset - x.offset % mmap.ALLOCATIONGRANULARITY  # a map begins with a page
    offset = begins + x.ctypes.data - of_map
    path = str(Path(x.filename).resolve())
    return NpyFile(path=path, dtype=x.dtype, shape=x.shape, offset=offset)


def _whole(flat: HostArray, shape: tuple[int, ...], path: str) -> HostArray:
    if flat.size != int(np.prod(shape)):
        msg = f"{path} has become shorter while it was read"
        raise ValueError(msg)
    return flat.reshape(shape)


def _of_all(source: Source) -> str:
    """Return a digest of dtype, shape and all numbers."""
    found = hashlib.blake2b(f"{source.dtype.str} {source.shape}".encode(), digest_size=16)
    for first in range(0, source.shape[-2], READ_AT_ONCE):
        last = min(source.shape[-2], first + READ_AT_ONCE)
        found.update(np.ascontiguousarray(source.tokens(first, last)).tobytes())
    return found.hexdigest()


def _digest(source: Source, more: str) -> str:
    """Return a digest of dtype, shape, some rows and a text."""
    n, found = source.shape[-2], hashlib.blake2b(digest_size=16)
    found.update(f"{source.dtype.str} {source.shape} {more}".encode())
    for i in range(min(SAMPLES, n)):
        first = i * max(1, n // SAMPLES)
        found.update(np.ascontiguousarray(source.tokens(first, min(n, first + SAMPLED_ROWS))).data)
    return found.hexdigest()
