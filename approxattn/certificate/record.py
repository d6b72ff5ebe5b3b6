"""What every record of results can do: a short `repr`, a small HTML table, a dict for JSON."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NoReturn

from approxattn import _arrays
from approxattn.certificate.page import table
from approxattn.certificate.plain import plain


class Record(ABC):
    """A frozen dataclass (declared with ``repr=False``) that says in one line what it holds."""

    _derived: ClassVar[tuple[str, ...]] = ()
    """Properties that `to_dict` adds to the fields."""

    _heavy: ClassVar[tuple[str, ...]] = ()
    """Fields that `to_dict` writes out only when it is asked to."""

    @abstractmethod
    def _summary(self) -> str:
        """Return one line, without the name of the class."""

    @abstractmethod
    def _table(self) -> dict[str, str]:
        """Return the rows of the HTML table: names and values."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._summary()}>"

    def _repr_html_(self) -> str:
        return table(type(self).__name__, self._summary(), self._table())

    def to_dict(self, *, arrays: bool = False) -> dict[str, Any]:
        """Return the record as dicts, lists, numbers, strings and None, ready for `json.dumps`.

        JSON has no infinity and no NaN: they become the strings "inf", "-inf" and "nan", which
        `float` and ``numpy.array(x, dtype=float)`` read back.

        Parameters
        ----------
        arrays : bool
            Whether outputs and gradients are written out; otherwise their shape and dtype are.
            Bounds and errors, one a row, always are.

        Returns
        -------
        dict
            "record", the name of the class, then the fields, and what follows from them.
        """
        names = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        found = {name: getattr(self, name) for name in (*names, *self._derived)}
        written = {name: arrays or name not in self._heavy for name in found}
        fields = {name: plain(x, arrays=written[name]) for name, x in found.items()}
        return {"record": type(self).__name__, **fields}


def described_array(x: Any) -> str:
    """Return dtype and shape, with the library where it is not NumPy."""
    library = type(x).__module__.partition(".")[0]
    where = "" if library == "numpy" else f" ({library})"
    return f"{_arrays.dtype_name(x)} {tuple(x.shape)}{where}"


def sizes(shape: tuple[int, ...]) -> str:
    """Return what numbers of this shape, one a row, speak about."""
    rows = f"{shape[-1]} row" if shape[-1] == 1 else f"{shape[-1]} rows"
    return f"{math.prod(shape[:-1])} x {rows}" if len(shape) > 1 else rows


class NotAnArray:
    """A record that holds arrays, and says so to whoever takes it for one."""

    _instead: ClassVar[str]
    """What the caller wants, e.g. "out.value"."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        msg = (
            f"this {type(self).__name__} is a record, not an array: use {self._instead}, or a "
            "field by its name"
        )
        raise TypeError(msg)

    __array__ = __iter__ = __len__ = __getitem__ = __float__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = _refuse
    __rmatmul__ = __truediv__ = __rtruediv__ = __pow__ = __neg__ = __abs__ = _refuse

    def __bool__(self) -> bool:
        return True  # without it, truth would ask for a length

    def __getattr__(self, name: str) -> NoReturn:
        # `shape`, `mean` and the like; copies and pickles ask for names with underscores
        hint = "" if name.startswith("_") else f"; of an array? It is {self._instead}.{name}"
        msg = f"{type(self).__name__} has no attribute {name!r}{hint}"
        raise AttributeError(msg, name=name, obj=self)
