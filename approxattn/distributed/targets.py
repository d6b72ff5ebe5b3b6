"""Where blocks of an output go: .npy files whose room is taken beforehand, and zarr arrays."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from approxattn._arrays import HostArray
from approxattn.whole_files import NotWrittenError

Write = Callable[[int, HostArray], None]


@dataclass(frozen=True, kw_only=True)
class Target:
    """An array that is written block by block, in the folder of a run.

    Parameters
    ----------
    name : str
        Its file in the folder; "*.zarr" is a zarr array.
    shape, dtype
        Of the whole; tokens are the axis `axis`.
    axis : int
        -2 for outputs, -1 for bounds of rows.
    length : int
        Tokens of a block: what a chunk of a zarr array holds.
    suffix : str or None
        What the finished array is called: `out` and this. None: it stays in the folder.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    axis: int
    length: int
    suffix: str | None

    def make(self, folder: Path) -> None:
        """Make the array, and take all of its room."""
        path = folder / self.name
        if self.name.endswith(".zarr"):
            zarr: Any = importlib.import_module("zarr")
            chunks = list(self.shape)
            chunks[self.axis] = min(self.length, max(1, self.shape[self.axis]))
            shape, dtype = self.shape, np.dtype(self.dtype)
            zarr.create_array(str(path), shape=shape, dtype=dtype, chunks=tuple(chunks))
            return
        header = {"descr": self.dtype, "fortran_order": False, "shape": self.shape}
        with path.open("wb") as file:
            npy.write_array_header_2_0(file, header)
            size = int(np.prod(self.shape, dtype=object)) * np.dtype(self.dtype).itemsize
            if size:
                _allocate(file.fileno(), file.tell(), size)

    @contextlib.contextmanager
    def written(self, folder: Path) -> Iterator[Write]:
        """Yield what writes tokens from a first one on; at the end they are on the disk."""
        path = folder / self.name
        if self.name.endswith(".zarr"):
            with self._chunk_written(path) as write:
                yield write
        elif len(self.shape) == -self.axis:
            with self._run_written(path) as write:
                yield write
        else:
            whole = np.lib.format.open_memmap(path, "r+")
            yield lambda first, rows: whole.__setitem__(self._where(first, rows), rows)
            whole.flush()

    @contextlib.contextmanager
    def _run_written(self, path: Path) -> Iterator[Write]:
        with path.open("r+b") as file:
            _skip_header(file)
            start = file.tell()
            step = np.dtype(self.dtype).itemsize * math.prod(self.shape[1:])

            def write(first: int, rows: HostArray) -> None:
                file.seek(start + first * step)
                file.write(np.ascontiguousarray(rows, self.dtype).data)

            yield write
            file.flush()
            os.fsync(file.fileno())

    @contextlib.contextmanager
    def _chunk_written(self, path: Path) -> Iterator[Write]:
        """Gather a chunk: zarr would read and write it anew for every part."""
        found: list[tuple[int, HostArray]] = []
        yield lambda first, rows: found.append((first, rows))
        rows = np.concatenate([x for _, x in found], axis=self.axis)
        zarr: Any = importlib.import_module("zarr")
        zarr.open_array(str(path), mode="r+")[self._where(found[0][0], rows)] = rows

    def _where(self, first: int, rows: HostArray) -> Any:
        last = first + rows.shape[self.axis]
        return (..., slice(first, last), *[slice(None)] * (-1 - self.axis))

    def place(self, folder: Path, out: Path) -> None:
        """Give the finished array its name, if it has not got it yet."""
        if self.suffix is None or not (folder / self.name).exists():
            return
        (folder / self.name).replace(self.final(folder, out))

    def final(self, folder: Path, out: Path) -> Path:
        """Return where the finished array is."""
        if self.suffix is None:
            return folder / self.name
        return out.with_name(out.name + self.suffix)

    def state(self, folder: Path, out: Path) -> str:
        """Return a digest of size and time of the last change of each file of the finished array;
        "" where there is none.
        """
        path = self.final(folder, out)
        if not path.exists():
            return ""
        files = sorted(x for x in path.rglob("*") if x.is_file()) if path.is_dir() else [path]
        found = hashlib.blake2b(digest_size=16)
        for file in files:
            at = file.stat()
            found.update(f"{file.relative_to(path)} {at.st_size} {at.st_mtime_ns}\n".encode())
        return found.hexdigest()

    def opened(self, folder: Path, out: Path) -> Any:
        """Return the finished array, to be read."""
        path = self.final(folder, out)
        if path.suffix == ".zarr":
            return importlib.import_module("zarr").open_array(str(path), mode="r")
        return np.load(path, mmap_mode="r" if 0 not in self.shape else None)


def _skip_header(file: Any) -> None:
    npy.read_magic(file)
    npy.read_array_header_2_0(file)


def _allocate(descriptor: int, first: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, first, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
        else:
            return
    os.ftruncate(descriptor, first + size)  # of a system or a disk that cannot say


def make_targets(targets: Iterable[Target], folder: Path) -> None:
    """Make all arrays; NotWrittenError if there is no room."""
    for target in targets:
        try:
            target.make(folder)
        except OSError as error:
            msg = (
                f"{folder / target.name} cannot be written ({error.strerror or error}): make room, "
                "or name another place"
            )
            raise NotWrittenError(msg) from error
