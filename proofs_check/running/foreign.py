"""A catalogue of somebody else: a module, or a file, with ``THEOREMS``.

Its evidence lies in a store of its own. A store remembers whose it is, and takes no other.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

from proofs_check import catalogue
from proofs_check.papers import controls
from proofs_check.statements.theorem import Theorem

__all__ = ["Foreign", "find"]


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """Where a catalogue is.

    Parameters
    ----------
    name : str
        Of its module.
    folder : str
        Where Python looks for it.
    """

    name: str
    folder: str

    @property
    def modules(self) -> tuple[str, ...]:
        """Our controls, which run with every campaign, and the module."""
        return controls.__name__, self.name

    @property
    def store(self) -> Path:
        """The file of its evidence, unless another is named."""
        return Path("report") / f"{self.name}.sqlite"

    def theorems(self) -> dict[str, Theorem]:
        """Its theorems by key."""
        return catalogue.load([self.name])

    def preamble(self) -> str:
        """Python after which the module is found."""
        return f"import sys\nsys.path.insert(0, {self.folder!r})"


def find(where: str) -> Foreign:
    """Import a catalogue, looked for in the working folder too.

    Parameters
    ----------
    where : str
        Name of a module, or path of a file that ends in .py.

    Raises
    ------
    LookupError
        When it cannot be imported, or has no ``THEOREMS``; the message says why.
    ValueError
        When a key occurs twice, or refers to what does not exist.
    """
    file = Path(where).resolve() if where.endswith(".py") else None
    if file is not None and not file.is_file():
        msg = f"catalogue(={where}) is no file: give the path of one, or the name of a module"
        raise LookupError(msg)
    folder, name = (str(Path.cwd()), where) if file is None else (str(file.parent), file.stem)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        msg = f"catalogue(={where}) cannot be imported: {told}"
        raise LookupError(msg) from error
    if file is not None and Path(str(getattr(module, "__file__", ""))).resolve() != file:
        msg = (
            f"catalogue(={where}) has the name of another module, {name!r} in "
            f"{getattr(module, '__file__', 'Python itself')}: rename the file"
        )
        raise LookupError(msg)
    entries = getattr(module, "THEOREMS", None)
    if not isinstance(entries, tuple | list) or not all(isinstance(t, Theorem) for t in entries):
        msg = (
            f"catalogue(={where}) has no THEOREMS, a tuple of proofs_check.Theorem: give it one "
            "(docs/kit.md shows how)"
        )
        raise LookupError(msg)
    _refuse_our_keys(where, entries)
    found = Foreign(name=name, folder=folder)
    found.theorems()
    return found


def _refuse_our_keys(where: str, entries: tuple[Theorem, ...] | list[Theorem]) -> None:
    """A verdict about their theorem must not be taken for one about ours."""
    ours = catalogue.theorems(timed=True)
    taken = next((t.key for t in entries if t.key in ours), None)
    if taken is not None:
        msg = f"catalogue(={where}) has the key {taken!r}, which is ours: rename it"
        raise LookupError(msg)
