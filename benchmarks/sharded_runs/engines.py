"""One run by one engine in fresh processes, and what it used."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import approxattn as aa
from approxattn import distributed
from sharded_runs.inputs import digest
from sharded_runs.processes import Watched

Pids = Callable[[], Collection[int]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is to be run: `engine` is "memory", "here", "pool" or "dask"."""

    engine: str
    exponent: int
    workers: int = 1
    causal: bool = False
    degree: int = 3

    @property
    def name(self) -> str:
        """What it is called in the results."""
        order = ", causal" if self.causal else ""
        return f"{self.engine} {self.workers}, 2^{self.exponent}, degree {self.degree}{order}"


def measured(run: Run, paths: list[Path], out: Path) -> dict[str, Any]:
    """Carry a run out, from nothing, and return what it used."""
    remove(out)
    method = aa.Polynomial(degree=run.degree)
    with executor(run) as (pool, pids), Watched(pids) as used:
        if run.engine in ("memory", "here"):
            pool.submit(_alone, run, paths, out, method).result()
        else:
            q, k, v = paths
            distributed.attention(q, k, v, method, causal=run.causal, out=out, executor=pool)
    workers = sorted(used.seconds, key=lambda pid: -used.seconds[pid])[: run.workers]
    return {
        "worker seconds": [round(used.seconds[pid], 2) for pid in workers],
        "own seconds": round(used.own, 2),
        "wall seconds": round(used.wall, 2),
        "private MiB": [round(used.peak[pid], 1) for pid in workers],
        "digest": digest(out) if out.exists() else "",
        "load": round(os.getloadavg()[0], 1),
    }


def remove(out: Path) -> None:
    """Remove an output and its run."""
    out.unlink(missing_ok=True)
    shutil.rmtree(out.with_name(out.name + ".run"), ignore_errors=True)


def _alone(run: Run, paths: list[Path], out: Path, method: Any) -> None:
    """Run in one process: the call in memory, or the plan task after task."""
    if run.engine == "here":
        distributed.attention(paths[0], paths[1], paths[2], method, causal=run.causal, out=out)
        return
    q, k, v = map(np.load, paths)
    found = aa.attention(q, k, v, method, causal=run.causal)
    np.save(out.with_suffix(".rows.npy"), found.certificate.rows)
    np.save(out, found.value)


@contextlib.contextmanager
def executor(run: Run) -> Iterator[tuple[Any, Pids]]:
    """Yield warm workers and their process ids."""
    if run.engine != "dask":
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(run.workers, mp_context=spawn) as pool:
            list(pool.map(_warm, range(2 * run.workers)))
            yield pool, lambda: list(pool._processes)
        return
    with cluster(run.workers) as (client, _):
        client.run(_warm, 0)
        found = list(client.run(os.getpid).values())
        yield client, lambda: found


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[tuple[Any, Any]]:
    """Yield a client of worker processes with nannies here, and their cluster."""
    dask: Any = importlib.import_module("distributed")
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with (
        dask.LocalCluster(n_workers=workers, silence_logs=60, memory_limit=None, **options) as here,
        dask.Client(here) as client,
    ):
        yield client, here


def _warm(_: int) -> None:
    """Import what the tasks need, and let the other workers do so too."""
    q, k, v = np.random.default_rng(0).standard_normal((3, 3000, 4)).astype("f4")
    for causal in (False, True):
        distributed.attention(q, k, v, aa.Polynomial(degree=3), causal=causal)
    time.sleep(0.2)
