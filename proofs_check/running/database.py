"""The SQLite file of the evidence: how it is opened, and what is wrong with it, in one line.

A writer opens the file itself. A reader takes a copy into memory and lets go of the file at once.
So a report speaks of one moment, and whatever is put into the copy never reaches the file.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = [
    "EvidenceError",
    "explained",
    "open_copy",
    "open_in_memory",
    "open_to_write",
    "trouble",
]

PATIENCE = 30.0
"""Seconds to wait for another process to let go of the file. *Chosen*."""

_TABLES: Mapping[str, str] = {
    "unit": (
        "key TEXT PRIMARY KEY, theorem TEXT NOT NULL, experiment INTEGER NOT NULL, "
        "seed INTEGER NOT NULL, budget TEXT NOT NULL, fingerprint TEXT NOT NULL, "
        "verdict TEXT NOT NULL, finished INTEGER NOT NULL"
    ),
    "campaign": (
        "id INTEGER PRIMARY KEY AUTOINCREMENT, started TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, "
        "plan TEXT NOT NULL, environment TEXT NOT NULL"
    ),
}

_ELSEWHERE = "name another file with --evidence"
_ANEW = f"move it away and carry out `python -m proofs_check run` again, or {_ELSEWHERE}"
_TROUBLES: Mapping[str, tuple[str, str]] = {
    "BUSY": (
        "is held by another process",
        f"try again when that process has ended, or {_ELSEWHERE}",
    ),
    "CANTOPEN": (
        "cannot be opened",
        f"make the file and its folder readable and writable, or {_ELSEWHERE}",
    ),
    "CORRUPT": ("is damaged", _ANEW),
    "FULL": (
        "finds no room on its disk",
        "make room and give the same command again: what the file holds is kept",
    ),
    "IOERR": (
        "cannot be read or written",
        f"see to its disk and give the same command again, or {_ELSEWHERE}",
    ),
    "NOTADB": ("is no SQLite file", _ANEW),
    "READONLY": (
        "cannot be written",
        f"make the file and its folder writable, or {_ELSEWHERE}",
    ),
}
"""By SQLite's name of the error: what is the matter, and what to do."""


class EvidenceError(Exception):
    """The store cannot be used; the message names the file, the trouble and a remedy."""


def trouble(path: Path, what: str, remedy: str = _ANEW) -> EvidenceError:
    """Return the error about a store, for the caller to raise."""
    return EvidenceError(f"evidence(={path}) {what}: {remedy}")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite or the file system says of the store into an `EvidenceError`."""
    try:
        yield
    except sqlite3.Error as error:
        what, remedy = _TROUBLES.get(_kind(error), ("cannot be used", _ANEW))
        raise trouble(path, f"{what} ({error})", remedy) from error
    except OSError as error:
        remedy = f"make the file and its folder readable and writable, or {_ELSEWHERE}"
        raise trouble(path, f"cannot be opened ({error.strerror})", remedy) from error


def _kind(error: sqlite3.Error) -> str:
    """SQLite's name of an error without its extension, such as CORRUPT; empty when it has none."""
    name = str(getattr(error, "sqlite_errorname", ""))
    kind = name.removeprefix("SQLITE_").partition("_")[0]
    return "BUSY" if kind in ("LOCKED", "PROTOCOL") else kind


def open_to_write(path: Path) -> sqlite3.Connection:
    """Open the file, made with its folder when absent, ready to be written to.

    Raises
    ------
    EvidenceError
        When it is no evidence store, is damaged, or cannot be written. Nothing is changed then.
    """
    with explained(path):
        _refuse_what_is_no_file(path)
        _make_folder_of(path)
        db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        try:
            _check(db, path)  # first of all: a file of somebody else's is not touched
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            _make_tables(db)
        except BaseException:
            db.close()
            raise
    return db


def open_in_memory() -> sqlite3.Connection:
    """Return a store of nothing that no file belongs to."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    _make_tables(db)
    return db


def open_copy(path: Path) -> sqlite3.Connection:
    """Return all that the file holds, as a store in memory.

    Raises
    ------
    EvidenceError
        When there is no such file, it is no evidence store, or is damaged.
    """
    with explained(path):
        if not path.exists():
            remedy = "carry out `python -m proofs_check run` first"
            raise trouble(path, "does not exist", remedy)
        _refuse_what_is_no_file(path)
        try:
            return _copied(path, path)
        except sqlite3.OperationalError as error:
            if _kind(error) == "BUSY":
                raise
            return _copied_from_elsewhere(path)


def _copied(file: Path, path: Path) -> sqlite3.Connection:
    # Opened like a writer, which makes the -shm file that a reader of a store in WAL mode needs,
    # sees what stands in the -wal file, and takes both away when it is the last to leave. No
    # statement of ours writes: query_only would refuse it.
    source = sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE)
    with contextlib.closing(source):
        source.execute("PRAGMA query_only = ON")
        _check(source, path)
        memory = sqlite3.connect(":memory:", isolation_level=None)
        source.backup(memory)
    _make_tables(memory)
    return memory


def _copied_from_elsewhere(path: Path) -> sqlite3.Connection:
    """Read a copy in a temporary folder: for a read-only medium or folder, or a full disk.

    SQLite wants to make a -shm file beside a store in WAL mode and cannot. Opening the file as
    immutable would need no such file, but would pass over the -wal file, in which the newest
    verdicts of a killed campaign stand. Copies of both are all that SQLite's own recovery goes by.
    It is safe as long as nobody writes meanwhile. Where no -shm file can be made nobody does, but
    through another mount somebody might: then the file changes, and the copy is not used.
    """
    with tempfile.TemporaryDirectory(prefix="proofs_check-") as folder:
        before = _states(path)
        copy = Path(folder) / "evidence.sqlite"
        shutil.copyfile(path, copy)
        if _beside(path).exists():
            shutil.copyfile(_beside(path), _beside(copy))
        if _states(path) != before:
            raise trouble(path, "was written to while it was read", "try again")
        return _copied(copy, path)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _states(path: Path) -> list[tuple[int, int]]:
    """Size and time of change of the file and of its -wal file."""
    files = [file for file in (path, _beside(path)) if file.exists()]
    return [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _refuse_what_is_no_file(path: Path) -> None:
    if path.is_dir():
        raise trouble(path, "is a folder", f"{_ELSEWHERE}, for example {path / 'evidence.sqlite'}")
    if path.exists() and not path.is_file():
        raise trouble(path, "is no ordinary file", _ELSEWHERE)


def _make_folder_of(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise trouble(path, "lies below a file, not in a folder", _ELSEWHERE) from error


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is not wholly ours, or not whole."""
    names = db.execute(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
        "AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name"
    )
    present = [str(name) for (name,) in names]
    strange = [name for name in present if name not in _TABLES]
    if strange:
        what = f"belongs to another program: it holds the table {strange[0]}"
        raise trouble(path, what, _ELSEWHERE)
    ours = open_in_memory()
    with contextlib.closing(ours):
        for name in present:
            expected, columns = _columns(ours, name), _columns(db, name)
            if columns != expected:
                wrong = sorted(set(expected) ^ set(columns)) or columns
                what = f"is of another version: its table {name} differs in {', '.join(wrong)}"
                raise trouble(path, what)
    (answer,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise trouble(path, f"is damaged ({' '.join(str(answer).split())})")


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [str(row[1]) for row in db.execute(f"PRAGMA table_info({table})")]


def _make_tables(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")  # fails at once where the file cannot be written
    for name, columns in _TABLES.items():
        db.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
    db.execute("COMMIT")
