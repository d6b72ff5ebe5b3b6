"""What a hunt, or another campaign, has done so far: a file of JSON lines, one a piece of work,
only ever appended to.

A line is written in one piece and forced to the disk before the next piece of work begins. A last
line without its end is what a killed process leaves: it is cut off when the file is opened to
write, and its work is done again. Two campaigns must not write to one file at once: the second is
refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from approxattn.whole_files import locked

FORMAT = "approxattn hunt 1"
"""What each line of a hunt says that it is."""


class StoreError(ValueError):
    """The file is not what a hunt wrote, or cannot be used."""


def read(path: Path, form: str = FORMAT) -> Iterator[dict[str, Any]]:
    """Yield the records of a store in the order of writing; a cut last line is left out. `form` is
    what each of its lines must say that it is.

    Raises
    ------
    StoreError
        When the file cannot be read or is no store.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        msg = f"store(={str(path)!r}) cannot be read: {error.strerror}; name a file of {form!r}"
        raise StoreError(msg) from error
    for number, line in enumerate(lines[:-1]):
        yield _parsed(path, number, line, form)


def _parsed(path: Path, number: int, line: bytes, form: str) -> dict[str, Any]:
    try:
        record: Any = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or record.get("format") != form:
        msg = (
            f"store(={str(path)!r}) line {number + 1} is no record of {form!r}: name another "
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
    form : str
        What each line says that it is.

    Raises
    ------
    StoreError
        As `read`; also when another campaign writes there.
    """

    def __init__(self, path: Path | None, form: str = FORMAT) -> None:
        self.path, self.form = path, form
        self.records: list[dict[str, Any]] = []
        self._file: int | None = None
        if path is None:
            return
        self._file = _opened(path)
        try:
            _locked(path, self._file)
            self.records = list(read(path, form))
            _cut(path, self._file)
        except BaseException:
            os.close(self._file)
            raise

    def add(self, record: dict[str, Any]) -> None:
        """Write one record."""
        self.records.append(record)
        if self._file is None:
            return
        line = json.dumps({"format": self.form, **record}, allow_nan=False) + "\n"
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
    if not locked(file):
        msg = f"store(={str(path)!r}) is written to by another process: wait, or name another file"
        raise StoreError(msg)


def _cut(path: Path, file: int) -> None:
    """Remove a last line without its end."""
    whole = path.read_bytes()
    end = whole.rfind(b"\n") + 1
    if end != len(whole):
        os.ftruncate(file, end)
