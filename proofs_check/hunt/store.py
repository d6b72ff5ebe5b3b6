"""What a hunt has done so far: a file of JSON lines, one a chunk, only ever appended to.

A line is written in one piece and forced to the disk before the next chunk begins. A last line
without its end is what a killed process leaves: it is cut off when the file is opened to write, and
its chunk is done again. Two hunts must not write to one file at once: the second is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FORMAT = "approxattn hunt 1"


class StoreError(ValueError):
    """The file is not what a hunt wrote, or cannot be used."""


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a store in the order of writing; a cut last line is left out.

    Raises
    ------
    StoreError
        When the file cannot be read or is no store.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        msg = (
            f"store(={str(path)!r}) cannot be read: {error.strerror}; name a file that a hunt made"
        )
        raise StoreError(msg) from error
    for number, line in enumerate(lines[:-1]):
        yield _parsed(path, number, line)


def _parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record: Any = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or record.get("format") != FORMAT or "index" not in record:
        msg = (
            f"store(={str(path)!r}) line {number + 1} is no record of {FORMAT!r}: name another "
            "file, or remove this one"
        )
        raise StoreError(msg)
    return record


class Store:
    """A store opened to be added to.

    Parameters
    ----------
    path : Path or None
        The file, made if it is not there; None keeps the records in memory.

    Raises
    ------
    StoreError
        As `read`; also when another hunt writes there.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []
        self._file: int | None = None
        if path is None:
            return
        self._file = _opened(path)
        try:
            _locked(path, self._file)
            self.records = list(read(path))
            _cut(path, self._file)
        except BaseException:
            os.close(self._file)
            raise

    def add(self, record: dict[str, Any]) -> None:
        """Write one chunk's record."""
        self.records.append(record)
        if self._file is None:
            return
        line = json.dumps({"format": FORMAT, **record}, allow_nan=False) + "\n"
        os.write(self._file, line.encode())
        os.fsync(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        msg = (
            f"store(={str(path)!r}) cannot be written: {error.strerror}; name a file in a folder "
            "that can"
        )
        raise StoreError(msg) from error


def _locked(path: Path, file: int) -> None:
    try:
        import fcntl
    except ModuleNotFoundError:  # not on this system: two writers are the user's own care
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        msg = f"store(={str(path)!r}) is written to by another hunt: wait, or name another file"
        raise StoreError(msg) from error


def _cut(path: Path, file: int) -> None:
    """Remove a last line without its end."""
    whole = path.read_bytes()
    end = whole.rfind(b"\n") + 1
    if end != len(whole):
        os.ftruncate(file, end)
