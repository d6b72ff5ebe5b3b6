"""Facts that nobody writes to."""

from __future__ import annotations

from typing import Any, NoReturn


class ReadOnlyDict(dict[str, Any]):
    """A dict that nobody writes to; it can be copied and pickled, which a mappingproxy cannot."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        msg = "the facts of a result are read-only: make a dict of them first"
        raise TypeError(msg)

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[ReadOnlyDict], tuple[dict[str, Any]]]:
        return type(self), (dict(self),)
