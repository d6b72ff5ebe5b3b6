"""Records that are found when somebody asks what they say.

A call keeps some numbers, one or a few for each row, and a function that makes its certificate of
them. Nothing of what it keeps belongs to the caller, so the certificate is the same whenever it is
read. The first to ask for a field computes them all, once; then the numbers kept are dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Self

import numpy as np

from approxattn._arrays import Array
from approxattn._arrays.crossing import done


class _Pending:
    """What is left to do, and the numbers that it needs."""

    __slots__ = ("find", "kept", "lock")

    def __init__(self, find: Callable[..., Any], kept: tuple[Any, ...]) -> None:
        self.find, self.kept, self.lock = find, kept, threading.RLock()


class Deferred:
    """A frozen dataclass, none of whose fields has a plain default: those would be found on the
    class before anybody computes them.

    Copies, pickles, comparisons and whatever else reads a field compute them all.
    """

    @classmethod
    def later(cls, find: Callable[..., Self], *kept: Any, **known: Any) -> Self:
        """Return the record that ``find(*kept)`` will make; of which some fields are `known`."""
        made = object.__new__(cls)
        vars(made).update(known)
        vars(made)["_pending"] = _Pending(find, kept)
        return made

    def then(self, change: Callable[..., Self], *kept: Any) -> Self:
        """Return the record that ``change(self, *kept)`` will make, with the same target."""
        known = {"target": self.target} if "target" in vars(self) else {}
        return self.later(change, self, *kept, **known)

    def when_done(self, like: Array) -> Self:
        """Return the record, which waits for whatever the stream of `like` has been given: its
        numbers may be read on another stream.
        """
        wait = done(like)
        return self if wait is None else self.then(_waited, wait)

    def __getattr__(self, name: str) -> Any:
        # asked only for what is not there yet
        own = vars(self)
        pending: _Pending | None = own.get("_pending")
        if name not in {field.name for field in fields(self)}:  # type: ignore[arg-type]
            msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg, name=name, obj=self)
        if pending is not None:
            with pending.lock:
                if "_pending" in own:  # no other thread was faster
                    self._find(pending)
        return own[name]

    def _find(self, pending: _Pending) -> None:
        own = vars(self)
        with np.errstate(all="ignore"):
            found = pending.find(*pending.kept)
            own.update(found.__getstate__())
        del own["_pending"]

    def __getstate__(self) -> dict[str, Any]:
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        return {name: getattr(self, name) for name in names}


def _waited(record: Any, wait: Callable[[], Any]) -> Any:
    wait()
    return record
