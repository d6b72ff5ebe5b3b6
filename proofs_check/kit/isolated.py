"""Examine a function in a process of its own, which it may leave, kill or hang without passing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from approxattn.testing.calls import Answer, Host, Left, Trouble
from approxattn.testing.conduct import SILENT, told
from approxattn.testing.findings import Examination
from approxattn.testing.frameworks import Framework
from approxattn.testing.problem import fixed_problems, lengths_for, sizes_for
from approxattn.testing.subject import Subject
from proofs_check.kit.attention import examine
from proofs_check.kit.messages import answer_of, packed, unpacked
from proofs_check.kit.process import Process

_MOST_ENDS = 5
"""Processes that a function may use up; then it is not called any more. *Chosen*."""

_UNREADABLE = "its process gave an answer that cannot be read"


class TargetError(LookupError):
    """There is no function to examine; the message says why."""


def check_isolated(
    target: str,
    *,
    time_limit: float = 300.0,
    exact: bool = True,
    scale: float | None = None,
    leading: int = 0,
    square: bool = False,
    framework: Framework = "numpy",
    autograd: bool = False,
    sizes: Sequence[int] | None = None,
    multiple_of: int = 1,
) -> Examination:
    """Examine the function named PACKAGE:FUNCTION, looked for in the working folder too.

    The function is imported and called in another process; the checks stay here. A call in which
    that process ends, however it does, is a failed check, and a new one takes the next call.

    Parameters
    ----------
    target : str
        PACKAGE:FUNCTION.
    time_limit : float
        Seconds for import and all calls together. What is left then has failed.
    exact, scale, leading, square, framework, sizes, multiple_of
        As in `check_attention`.
    autograd : bool
        Examine its gradients by torch too.

    Raises
    ------
    TargetError
        When the function cannot be imported, or its import ends the process: nothing can be said
        about it then, neither well nor ill.
    ValueError
        When the time limit is not positive, and as in `check_attention`.
    """
    if not time_limit > 0:
        msg = f"time_limit(={time_limit}) must be positive: it is a number of seconds"
        raise ValueError(msg)
    if autograd and framework != "torch":
        msg = "autograd(=True) needs framework='torch': other arrays have no gradients (--torch)"
        raise ValueError(msg)
    lengths = lengths_for(sizes, multiple_of)
    with contextlib.closing(_Home(target, time_limit, framework, autograd)) as home:
        home.move_in()
        gradient = _Remote(home, "gradient") if autograd else None
        # The function is elsewhere: how NumPy takes its infinities here is no business of its.
        with np.errstate(all="ignore"):
            subject = Subject(
                caller=_Remote(home, "function"),
                gradient=gradient,
                scale=scale,
                leading=leading,
                square=square,
                exact=exact,
                lengths=lengths,
            )
            posed = fixed_problems(np.random.default_rng(0), sizes_for(lengths, sizes))
            return examine(subject, list(posed), by_design={})


class _Remote:
    """A function in its home."""

    def __init__(self, home: _Home, which: str) -> None:
        self._home, self._which = home, which

    @property
    def name(self) -> str:
        return self._home.name

    @property
    def keywords(self) -> frozenset[str]:
        return self._home.keywords

    def __call__(self, arrays: Sequence[Host], options: Mapping[str, Any]) -> Answer:
        request = {"which": self._which, "arrays": list(arrays), "options": dict(options)}
        return self._home.ask(request)


class _Home:
    """The process that a function runs in, replaced when it ends."""

    def __init__(self, target: str, time_limit: float, framework: str, autograd: bool) -> None:
        package, colon, function = target.partition(":")
        if not (package and colon and function):
            msg = (
                f"target(={target!r}) must read PACKAGE:FUNCTION, for example "
                "mypackage.attention:forward"
            )
            raise TargetError(msg)
        self._target, self._limit, self._left = target, time_limit, time_limit
        self._first = {
            "path": [str(Path.cwd()), *sys.path],
            "package": package,
            "function": function,
            "framework": framework,
            "autograd": autograd,
        }
        self.name, self.keywords = target, frozenset[str]()
        self._process: Process | None = None
        self._starts = 0

    def move_in(self) -> None:
        """Have the function imported; `TargetError` when it cannot be."""
        try:
            self._import()
        except Left as error:
            msg = f"target(={self._target!r}) cannot be imported: {error}"
            raise TargetError(msg) from error

    def _import(self) -> None:
        ready = self._told(self._first)
        if "unusable" in ready:
            self.close()
            raise Left(str(ready["unusable"]))
        try:
            self.name, self.keywords = str(ready["name"]), frozenset(map(str, ready["keywords"]))
        except (LookupError, TypeError) as error:
            self.close()
            raise Left(_UNREADABLE) from error
        self._prints()  # what an import prints is not held against the function

    def ask(self, request: Mapping[str, Any]) -> Answer:
        """Have the function called; `Trouble` when it gives no numbers."""
        try:
            if self._process is None:
                self._import()
            answer = answer_of(self._told(request))
        except Trouble as error:
            raise type(error)(str(error), (*error.misdeeds, *self._prints())) from error
        except (LookupError, TypeError, ValueError) as error:
            self.close()
            raise Left(_UNREADABLE) from error
        return Answer(outputs=answer.outputs, misdeeds=(*answer.misdeeds, *self._prints()))

    def _prints(self) -> list[tuple[str, str]]:
        if self._process is None or not self._process.heard:
            return []
        heard, self._process.heard = self._process.heard, b""
        return [(SILENT, told(heard))]

    def _told(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of the process, in the time that is left; `Left` when there is none."""
        started = time.monotonic()
        try:
            if self._left <= 0:
                raise TimeoutError
            if self._process is None:
                if self._starts == _MOST_ENDS:
                    msg = f"not called any more: its process ended {_MOST_ENDS} times"
                    raise Left(msg)
                self._starts += 1
                self._process = Process()
            return unpacked(self._process.exchange(packed(request), self._left))
        except TimeoutError:
            self.close()
            msg = f"not finished within {self._limit:g} s in all (--time-limit)"
            raise Left(msg) from None
        except (EOFError, OSError):
            end = self._process.end() if self._process is not None else "its process did not start"
            self.close()
            raise Left(end) from None
        except ValueError as error:
            self.close()
            raise Left(_UNREADABLE) from error
        finally:
            self._left -= time.monotonic() - started

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.stop()
            self._process = None
