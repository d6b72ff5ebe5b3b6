"""Long work says so: how long it will take, before it begins, and how far it is.

It is told to the log "approxattn" at level INFO, which nobody sees who does not ask for it:
``logging.basicConfig(level=logging.INFO)`` shows it, a handler of one's own is a hook. The commands
show it where standard error is a terminal.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from approxattn._problem.time_needed import spelled

LONG, EVERY, SHARE = 60.0, 10.0, 0.02
"""Seconds from which on work is long; seconds between two messages, or this share of the time so
far. *Chosen*: six lines in the first minute, some 150 a day.
"""

LOG = logging.getLogger("approxattn")
LOG.addHandler(logging.NullHandler())

clock: Callable[[], float] = time.monotonic
"""What time it is, in seconds."""

Step = TypeVar("Step")


class Work:
    """Some work, of which more and more is done.

    Parameters
    ----------
    what : str
        What is done.
    seconds : float
        About how long it takes.
    total : float
        How much there is, in any unit.
    """

    def __init__(self, what: str, seconds: float, total: float) -> None:
        self.what, self.total, self.done = what, total, 0.0
        self._start = self._last = clock()
        self._told = seconds >= LONG
        if self._told:
            LOG.info("%s: about %s of one core", what, spelled(seconds))

    def add(self, amount: float) -> None:
        """Note that so much more is done."""
        self.done += amount
        now = clock()
        passed = now - self._start
        if now - self._last < (max(EVERY, SHARE * passed) if self._told else LONG):
            return
        self._last, self._told = now, True
        if 0 < self.done < self.total:
            left = passed * (self.total - self.done) / self.done
            share = 100 * self.done / self.total
            LOG.info("%s: %.0f %% done, about %s left", self.what, share, spelled(left))

    def finish(self) -> None:
        """Note that all is done."""
        if self._told:
            LOG.info("%s: done in %s", self.what, spelled(clock() - self._start))


def reported(
    steps: Iterable[Step], what: str, seconds: float, total: float, size: Callable[[Step], float]
) -> Iterator[Step]:
    """Yield steps, and tell how much of the total is done; `size` is how much one is."""
    work = Work(what, seconds, total)
    for step in steps:
        yield step
        work.add(size(step))
    work.finish()
