"""Runs whose workers are killed by SIGKILL, and what came of them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import approxattn as aa
from approxattn import distributed
from approxattn.distributed import engines
from sharded_runs.engines import Run, cluster, executor, remove
from sharded_runs.inputs import digest

SHARD = 2**15
STATE = "known-state"
"""What the key of the merged state begins with."""

CALLS = 10
"""Calls until a run must be done."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who works: the executor, the process of each worker by its address, and what lets none of
    them come back.
    """

    pool: Any
    workers: Callable[[], Mapping[str, int]]
    retire: Callable[[], None]


@contextlib.contextmanager
def crew(run: Run) -> Iterator[Crew]:
    """Start workers."""
    if run.engine == "dask":
        with cluster(run.workers) as (client, here):

            def workers() -> dict[str, int]:
                nannies = list(here.workers.values())
                return {x.worker_address: x.pid for x in nannies if x.pid and x.worker_address}

            def retire() -> None:
                for nanny in here.workers.values():
                    nanny.instantiate = _nobody

            yield Crew(pool=client, workers=workers, retire=retire)
        return
    with executor(run) as (pool, pids):
        yield Crew(pool=pool, workers=lambda: {str(p): p for p in pids()}, retire=lambda: None)


async def _nobody() -> None:
    """Start no worker in the place of one that is gone."""


def call(run: Run, paths: list[Path], out: Path, pool: Any = None) -> None:
    """Do the run, or continue it."""
    method = aa.Polynomial(degree=run.degree)
    q, k, v = paths
    options = {"causal": run.causal, "out": out, "executor": pool, "shard": SHARD}
    distributed.attention(q, k, v, method, **options)


def digests(out: Path) -> str:
    """Return a digest of the output and one of the bounds of its rows; "" where there is none."""
    if not out.exists():
        return ""
    return f"{digest(out)} {digest(out.with_name(out.name + '.run') / 'rows.npy')}"


def undisturbed(run: Run, paths: list[Path], out: Path) -> tuple[str, float]:
    """Return the digests of a run that nobody kills, and the seconds that it takes."""
    remove(out)
    with crew(run) as here:
        begun = time.monotonic()
        call(run, paths, out, here.pool)
        return digests(out), time.monotonic() - begun


def killed(
    run: Run, paths: list[Path], out: Path, kind: str, rng: np.random.Generator, longest: float
) -> dict[str, Any]:
    """Kill workers of a run, call again if it ends, and return what happened.

    `kind` is "random" (one worker of a pool, one to three of a cluster, at random times within
    `longest` seconds), "state" (the one that holds the merged state, as soon as it does; Dask
    alone) or "all" (all at once, and none comes back).
    """
    remove(out)
    said: list[str] = []
    kills = _first_call(run, paths, out, kind, rng, longest, said)
    calls = 1
    while not out.exists() and calls < CALLS:
        calls += 1
        call(run, paths, out)
    return {
        "engine": run.engine,
        "kind": kind,
        "killed after": [round(at, 2) for at in kills],
        "calls": calls,
        "said": said,
        "digests": digests(out),
    }


def _first_call(
    run: Run,
    paths: list[Path],
    out: Path,
    kind: str,
    rng: np.random.Generator,
    longest: float,
    said: list[str],
) -> list[float]:
    """Return when workers were killed."""
    over, kills = threading.Event(), []
    with crew(run) as here:
        begun = time.monotonic()

        def kill() -> None:
            for pid in _victims(kind, here, rng, longest, over):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    kills.append(time.monotonic() - begun)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        try:
            call(run, paths, out, here.pool)
        except distributed.WorkersLostError as error:
            said.append(str(error).replace(str(out.parent), ""))
        finally:
            over.set()
            killer.join()
    return kills


def _victims(
    kind: str, here: Crew, rng: np.random.Generator, longest: float, over: threading.Event
) -> Iterator[int]:
    """Wait, and yield whom to kill, until the run is over."""
    if kind == "state":
        while not over.wait(0.01):
            held = {
                key: at for key, at in here.pool.who_has().items() if str(key).startswith(STATE)
            }
            found = [here.workers().get(a) for at in held.values() for a in at]
            if any(found):
                yield from (pid for pid in found if pid)
                return
        return
    if kind == "all":
        if not over.wait(rng.uniform(0.1, 0.9) * longest):
            here.retire()
            yield from list(here.workers().values())
        return
    for _ in range(int(rng.integers(1, 4))):
        if over.wait(rng.uniform(0.05, 0.95) * longest):
            return
        workers = list(here.workers().values())
        if workers:
            yield int(rng.choice(workers))


def with_patience(seconds: float) -> None:
    """Wait so long for a cluster without workers: a minute is long, twenty times."""
    engines.PATIENCE = seconds
