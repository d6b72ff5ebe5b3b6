"""Write a file whole or not at all: an interrupt or a full disk leaves what stood there before."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

_REMEDIES: Mapping[int, str] = {
    errno.EDQUOT: "make room, or name another place",
    errno.EISDIR: "name a file in it",
    errno.ENOENT: "make its folder first",
    errno.ENOSPC: "make room, or name another place",
    errno.ENOTDIR: "name a folder where a folder is needed",
}


class NotWrittenError(OSError):
    """A file or folder cannot be written; the message names it, the reason and a remedy."""


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield the name of a new file to write, which takes the place of `path` at the end.

    Where `path` is a device or a pipe it is yielded itself: there is nothing to keep.

    Raises
    ------
    NotWrittenError
        When it cannot be written. What stood there before still does.
    """
    path = Path(path)
    with _explained(path):
        target = path.resolve()  # a link stays one
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if target.exists() and not target.is_file():
            yield target
            return
        # In the same folder, because a name can be changed at one stroke on one disk only.
        temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            temporary.touch(exist_ok=False)
            yield temporary
            if target.exists():
                shutil.copymode(target, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; `NotWrittenError` when it cannot be."""
    with whole_file(path) as file:
        # Half a surrogate pair, which damaged input may hold, has no UTF-8: its number will do.
        file.write_bytes(text.encode("utf-8", "backslashreplace"))


def check_place(path: str | Path) -> None:
    """See before long work that a file can be written there afterwards; nothing is left behind.

    Raises
    ------
    NotWrittenError
        When it cannot be now.
    """
    path = Path(path)
    with _explained(path):
        target = path.resolve()
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not target.exists() or target.is_file():
            temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
            try:
                temporary.touch(exist_ok=False)
            finally:
                temporary.unlink(missing_ok=True)


def make_folder(path: str | Path) -> Path:
    """Return the folder, made when absent; `NotWrittenError` when it cannot be."""
    path = Path(path)
    with _explained(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
    return path


def locked(file: int) -> bool:
    """Tell whether this process has an open file to itself now, until it is closed.

    True where the system has no such locks: two writers are then the user's own care.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except NotWrittenError:
        raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "name a place that can be written")
        msg = f"{path} cannot be written ({error.strerror or error}): {remedy}"
        raise NotWrittenError(msg) from error
