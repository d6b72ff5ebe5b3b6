"""The one way in which a function under examination is called, whatever it does then."""

from __future__ import annotations

import contextlib
import inspect
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from approxattn.testing.conduct import INPUTS, PLAIN, Misdeed, watched

Host: TypeAlias = np.ndarray[Any, Any]


class Trouble(Exception):
    """A call gave no numbers; the message is for the report."""

    def __init__(self, message: str, misdeeds: Sequence[Misdeed] = ()) -> None:
        super().__init__(message)
        self.misdeeds = tuple(misdeeds)


class Refused(Trouble):
    """The function raised an exception, as it may when it does not like its input."""


class Unusable(Trouble):
    """The function returned something else than numbers in the shape that was asked for."""


class Left(Trouble):
    """The function tried to leave, its process died, or its time was over: never a refusal."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a call gave."""

    outputs: tuple[Host, ...]
    misdeeds: tuple[Misdeed, ...] = ()


class Caller(Protocol):
    """A function as an examination sees it, in this process or in another one."""

    @property
    def name(self) -> str:
        """Module and name."""

    @property
    def keywords(self) -> frozenset[str]:
        """Names of its parameters; none when they are not known."""

    def __call__(self, arrays: Sequence[Host], options: Mapping[str, Any]) -> Answer:
        """Call it with host arrays, which it never sees themselves; `Trouble` when that fails."""


@dataclass(frozen=True, kw_only=True)
class Local:
    """A function in this process.

    Parameters
    ----------
    function : callable
        Returns an array, or a tuple of arrays.
    put, get : callable
        Host array to the function's kind of array, and back.
    options : mapping
        Keyword arguments of every call.
    plain : bool
        Whether its arrays are NumPy's.
    listen : bool
        Whether to notice here that it prints; the process around may do it.
    named : frozenset of str
        Parameters that the function has though its signature does not tell them.
    """

    function: Callable[..., Any]
    put: Callable[[Host], Any]
    get: Callable[[Any], Host]
    options: Mapping[str, Any]
    plain: bool
    listen: bool = True
    named: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Module and name."""
        own = getattr(self.function, "__qualname__", None) or repr(self.function)
        return f"{getattr(self.function, '__module__', '?')}:{own}"

    @property
    def keywords(self) -> frozenset[str]:
        """Names of its parameters; built-in functions tell none."""
        try:
            return self.named.union(inspect.signature(self.function).parameters)
        except (TypeError, ValueError):
            return self.named

    def __call__(self, arrays: Sequence[Host], options: Mapping[str, Any]) -> Answer:
        """Call it with copies, and watch."""
        misdeeds: list[Misdeed] = []
        given = [self.put(np.array(x)) for x in arrays]
        named = {n: self.put(np.array(x)) if _is_array(x) else x for n, x in options.items()}
        seen = [*zip("qkvg", given, arrays, strict=False)]
        seen += [(n, named[n], x) for n, x in options.items() if _is_array(x)]
        try:
            with _leaving(), watched(misdeeds, listen=self.listen):
                result = self.function(*given, **self.options, **named)
                outputs = self._host(result, misdeeds)
        except Trouble as error:
            self._compare(seen, misdeeds)
            raise type(error)(str(error), misdeeds) from error.__cause__
        self._compare(seen, misdeeds)
        return Answer(outputs=outputs, misdeeds=tuple(misdeeds))

    def _host(self, result: Any, misdeeds: list[Misdeed]) -> tuple[Host, ...]:
        outputs = []
        for x in result if isinstance(result, tuple) else (result,):
            if self.plain and isinstance(x, np.ndarray) and type(x) is not np.ndarray:
                misdeeds.append((PLAIN, f"a {type(x).__name__} came back"))
            host = np.asarray(self.get(x))
            if host.dtype.kind not in "biufc":
                msg = f"the output has dtype {host.dtype}, which holds no numbers"
                raise Unusable(msg)
            outputs.append(host)
        return tuple(outputs)

    def _compare(self, seen: Sequence[tuple[str, Any, Host]], misdeeds: list[Misdeed]) -> None:
        """Note which inputs are not, byte for byte, what they were."""
        changed = [
            name
            for name, given, before in seen
            if np.asarray(self.get(given)).tobytes() != before.tobytes()
        ]
        if changed:
            misdeeds.append((INPUTS, f"{', '.join(changed)} changed"))


def _is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray)


@contextlib.contextmanager
def _leaving() -> Iterator[None]:
    """Turn whatever the block raises into `Trouble`, except what the user wants.

    A KeyboardInterrupt is the user's when the signal came while the block ran. Otherwise the
    function raised it by itself, as any other exception that is meant to end a program.
    """
    pressed: list[bool] = []
    try:
        with _interrupts_noted(pressed):
            yield
    except Trouble:
        raise
    except Exception as error:
        raise Refused(told_error(error)) from error
    except BaseException as error:
        if pressed:
            raise
        msg = f"it raised {told_error(error)}"
        raise Left(msg) from error
    if pressed:  # the function caught what was not meant for it
        raise KeyboardInterrupt


@contextlib.contextmanager
def _interrupts_noted(pressed: list[bool]) -> Iterator[None]:
    handler = signal.getsignal(signal.SIGINT)
    # Signals come to the main thread only: in another one an interrupt is nobody's but its own.
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    usual = handler

    def note(number: int, frame: Any) -> None:
        pressed.append(True)
        usual(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def told_error(error: BaseException) -> str:
    """Return an exception's kind and message, on one line of the report."""
    if isinstance(error, Trouble):
        return str(error)
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - not even its message can be had
        text = ""
    return " ".join(f"{type(error).__name__}: {text}".split()).removesuffix(":")[:200]
