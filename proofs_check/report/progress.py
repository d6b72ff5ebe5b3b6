"""How far a campaign is: counts, rate, and how long the rest will take, judged by how long each
experiment took last time.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from proofs_check.running.campaign import Campaign
from proofs_check.running.evidence import Evidence, Unit
from proofs_check.running.usual import usual_seconds

__all__ = ["Progress", "carry_out"]

_UNKNOWN = 1.0
"""Seconds expected of an experiment as long as nothing at all is known. *Chosen*."""


_SECONDS_BETWEEN_LINES = 30.0
"""How often a log file is told. *Chosen*."""


class Progress:
    """Told of each verdict as it comes, says what is left.

    Parameters
    ----------
    units : iterable of Unit
        All units of the campaign.
    usual : mapping
        Seconds that units took before, where known; others are expected to take the mean of all
        known.
    jobs : int
        How many are carried out side by side, until experience says more.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(
        self,
        units: Iterable[Unit],
        usual: Mapping[Unit, float],
        *,
        jobs: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._left = set(units)
        self.total, self._known, self._jobs, self._clock = len(self._left), dict(usual), jobs, clock
        self._started, self._carried_out, self._expected = clock(), 0, 0.0

    @property
    def done(self) -> int:
        """Units with a verdict, those of earlier runs included."""
        return self.total - len(self._left)

    @property
    def rate(self) -> float:
        """Units carried out a second, since the start."""
        return self._carried_out / max(self._clock() - self._started, 1e-9)

    @property
    def remaining(self) -> float:
        """Expected seconds until the end: what is left, at the pace at which what was expected of
        the finished units has been done.
        """
        elapsed = self._clock() - self._started
        left = self._expect(self._left)
        return left * elapsed / self._expected if self._expected > 0 else left / self._jobs

    def found(self, unit: Unit) -> None:
        """The verdict of a unit was there already."""
        self._left.discard(unit)

    def advance(self, unit: Unit, seconds: float) -> None:
        """A unit was carried out."""
        self._expected += self._expect([unit])
        self._left.discard(unit)
        self._carried_out += 1
        self._known[unit] = seconds

    def _expect(self, units: Iterable[Unit]) -> float:
        usual = statistics.fmean(self._known.values()) if self._known else _UNKNOWN
        return sum(self._known.get(unit, usual) for unit in units)

    def __str__(self) -> str:
        text = f"{self.done} of {self.total} experiments"
        if self._carried_out and self._left:
            text += f", {self.rate:.2g}/s, about {_clock_time(self.remaining)} left"
        return text


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def carry_out(
    campaign: Campaign,
    store: Evidence,
    *,
    fresh: bool = False,
    time_limit: float = math.inf,
    quiet: bool = False,
    record: bool = True,
) -> None:
    """Run a campaign and show on standard error how far it is, where that does not mix with the
    results.

    Parameters
    ----------
    campaign, store, fresh, time_limit, record
        As in `Campaign.run`.
    quiet : bool
        Show nothing.
    """
    known = campaign.stored(store) if not fresh else set()
    usual = usual_seconds(campaign.units) if not campaign.catalogue_name else {}
    usual |= store.usual_seconds(campaign.units)
    progress = Progress(campaign.units, usual, jobs=campaign.jobs)
    for unit in known:
        progress.found(unit)
    with (
        contextlib.closing(
            campaign.run(store, fresh=fresh, record=record, time_limit=time_limit)
        ) as verdicts,
        _display(quiet) as show,
    ):
        for unit, verdict in verdicts:
            if unit not in known:
                progress.advance(unit, verdict.seconds)
            show(progress, f"{unit.theorem}: {verdict.status}")


@contextmanager
def _display(quiet: bool) -> Iterator[Callable[[Progress, str], None]]:
    """A bar on a terminal; a line now and then where there is none."""
    if quiet:
        yield lambda _, __: None
    elif not sys.stderr.isatty():
        last = [time.monotonic()]

        def line(progress: Progress, _: str) -> None:
            if time.monotonic() - last[0] >= _SECONDS_BETWEEN_LINES:
                last[0] = time.monotonic()
                sys.stderr.write(f"{progress}\n")
                sys.stderr.flush()

        yield line
    else:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        columns = (BarColumn(), TextColumn("{task.description}"))
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("starting", total=None)

            def move(progress: Progress, news: str) -> None:
                bar.update(
                    task,
                    completed=progress.done,
                    total=progress.total,
                    description=f"{progress}; {news}",
                )

            yield move
