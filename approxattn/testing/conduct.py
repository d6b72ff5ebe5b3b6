"""What a function does beside computing: it may write to its inputs, print, or change settings that
belong to everybody.

Seen at every call of an examination, and put back where it can be.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import threadpoolctl

from approxattn.testing.findings import Finding

Misdeed: TypeAlias = tuple[str, str]
"""Name of a check, and what speaks against it."""

INPUTS = "inputs are not written to"
PLAIN = "plain arrays are returned"
SILENT = "nothing is printed"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Something that belongs to the whole process: how to read it, in a form that can be compared,
    and how to put it back.
    """

    read: Callable[[], Any]
    restore: Callable[[Any], None]


def _random_state() -> tuple[Any, Any]:
    kind, words, *rest = np.random.get_state()  # noqa: NPY002 - the one that is shared
    return (kind, np.asarray(words).tobytes(), *rest), random.getstate()


def _restore_random_state(states: tuple[Any, Any]) -> None:
    kind, words, *rest = states[0]
    np.random.set_state((kind, np.frombuffer(words, np.uint32), *rest))  # noqa: NPY002
    random.setstate(states[1])


def _restore_error_handling(before: Any) -> None:
    np.seterr(**before)


def _surroundings() -> tuple[str, dict[str, str]]:
    try:
        return str(Path.cwd()), dict(os.environ)
    except OSError:  # somebody has removed the folder
        return "", dict(os.environ)


def _restore_surroundings(before: tuple[str, dict[str, str]]) -> None:
    if before[0]:
        os.chdir(before[0])
    os.environ.clear()
    os.environ.update(before[1])


_POOLS = threadpoolctl.ThreadpoolController()


def _threads() -> list[Any]:
    return [pool.num_threads for pool in _POOLS.lib_controllers]


def _restore_threads(numbers: list[Any]) -> None:
    for pool, number in zip(_POOLS.lib_controllers, numbers, strict=True):
        pool.set_num_threads(number)


SETTINGS: Mapping[str, Setting] = {
    "random numbers of others are kept": Setting(read=_random_state, restore=_restore_random_state),
    "error handling of NumPy is kept": Setting(read=np.geterr, restore=_restore_error_handling),
    "numbers of threads are kept": Setting(read=_threads, restore=_restore_threads),
    "environment is kept": Setting(read=_surroundings, restore=_restore_surroundings),
}
"""By the name of the check. The random state is that of `numpy.random` and `random`: who draws from
it changes what others draw; the environment is the working folder and the variables."""

CHECKS = (INPUTS, PLAIN, SILENT, *SETTINGS)
"""In the order of the table."""


def look_up_thread_pools() -> None:
    """Find the libraries whose threads are watched, those loaded until now."""
    global _POOLS
    _POOLS = threadpoolctl.ThreadpoolController()


@contextlib.contextmanager
def watched(misdeeds: list[Misdeed], *, listen: bool) -> Iterator[None]:
    """Note in the list what the block does to settings, and, with `listen`, that it prints."""
    before = {name: setting.read() for name, setting in SETTINGS.items()}
    sink = _Sink()
    try:
        with contextlib.ExitStack() as stack:
            # A warning is no print: it is shown once and can be switched off.
            stack.enter_context(warnings.catch_warnings(record=True))
            if listen:
                stack.enter_context(contextlib.redirect_stdout(sink.stream()))
                stack.enter_context(contextlib.redirect_stderr(sink.stream()))
            yield
    finally:
        if sink.size:
            misdeeds.append((SILENT, told(sink.head)))
        for name, setting in SETTINGS.items():
            after = setting.read()
            if after != before[name]:
                misdeeds.append((name, f"changed{_difference(before[name], after)}"))
                setting.restore(before[name])


class _Sink(io.RawIOBase):
    """Counts what is written to it, and keeps the beginning."""

    def __init__(self) -> None:
        self.size, self.head = 0, b""

    def stream(self) -> io.TextIOWrapper:
        """Return a text stream into this one, which may be closed without harm."""
        return io.TextIOWrapper(
            _Into(self),  # type: ignore[arg-type]  # unbuffered, so that nothing is held back
            encoding="utf-8",
            errors="replace",
            write_through=True,
        )

    def take(self, data: Any) -> int:
        """Count bytes."""
        text = bytes(data)
        self.size += len(text)
        self.head = (self.head + text)[:200]
        return len(text)


class _Into(io.RawIOBase):
    """A stream into a sink."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._sink.take(data)


def told(head: bytes) -> str:
    """Return the beginning of what was printed, on one line."""
    return repr(" ".join(head.decode("utf-8", "replace").split())[:60])


def _difference(before: Any, after: Any) -> str:
    """How two small settings differ, in words; nothing for large ones."""
    text = f" from {before} to {after}"
    return text if len(text) <= 120 else ""


@dataclass
class Record:
    """Misdeeds of all calls of an examination that could be watched to their end."""

    calls: int = 0
    answers: int = 0
    seen: dict[str, list[str]] = field(default_factory=dict)

    def add(
        self, misdeeds: Sequence[Misdeed], *, watched: bool = True, answered: bool = True
    ) -> None:
        """Take down a call, and whether it gave numbers."""
        self.calls += watched or bool(misdeeds)
        self.answers += answered
        for name, what in dict(reversed(misdeeds)).items():
            self.seen.setdefault(name, []).append(what)

    def findings(self) -> Iterator[Finding]:
        """Yield one finding a check.

        None of them holds by itself: a function that never gave numbers did nothing well.
        """
        for name in CHECKS:
            what = self.seen.get(name, [])
            detail = f"{what[0]}; in {len(what)} of {self.calls} calls" if what else ""
            held = False if what else True if self.answers else None
            detail = "no call gave numbers" if held is None else detail
            yield Finding(name=name, held=held, detail=detail)
