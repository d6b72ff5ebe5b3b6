"""Who carries out a graph: this process, a pool of concurrent.futures, a Dask client.

All of them yield what is finished, in any order: the results that are wanted, None for other tasks.
"""

from __future__ import annotations

import queue
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from typing import Any
from uuid import uuid4

from approxattn.sharding.here import run_here
from approxattn.sharding.plan import Graph, Ref, filled, needed, refs_of
from approxattn.sharding.ready import Ready

PATIENCE = 60.0
"""Seconds that a Dask cluster may be without workers. *Chosen*: a nanny starts one in a few."""

TRIES = 10
"""Times that a Dask task may lose its worker. *Chosen*: a task seldom kills its worker itself."""

AHEAD = 2
"""Tasks that a pool is handed for each of its workers: one that runs, one that waits."""

Finished = Iterator[tuple[Ref, Any]]


class WorkersLostError(RuntimeError):
    """All workers are gone; what they have written stays."""


def carry_out(graph: Graph, wanted: Sequence[Ref], executor: Any) -> Finished:
    """Yield what is finished, by whatever the executor is."""
    if executor is None:
        return run_here(graph, wanted)
    if is_dask_client(executor):
        return _by_dask(graph, wanted, executor)
    return _by_pool(graph, wanted, executor)


def check_executor(executor: Any) -> None:
    """Raise TypeError unless something can be submitted to it."""
    if executor is not None and not hasattr(executor, "submit"):
        msg = (
            f"executor is {executor!r}: give a concurrent.futures pool, a Dask client, or None for "
            "this process"
        )
        raise TypeError(msg)


def is_dask_client(executor: Any) -> bool:
    """Tell a client of `distributed` from a pool, without importing it."""
    return any(c.__module__.partition(".")[0] == "distributed" for c in type(executor).__mro__)


def _by_pool(graph: Graph, wanted: Sequence[Ref], pool: Any) -> Finished:
    """Hand out tasks in their order as soon as what they need is there."""
    tasks, awaited = needed(graph, wanted), {ref.key for ref in wanted}
    users = Counter(ref.key for task in tasks.values() for ref in refs_of(task))
    results: dict[Any, Any] = {}
    running: dict[Future[Any], Any] = {}
    ready = Ready(tasks)
    most = AHEAD * getattr(pool, "_max_workers", 8)
    try:
        while ready or running:
            while ready and len(running) < most:
                key = ready.take()
                running[pool.submit(*filled(tasks[key], results))] = key
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                key = running.pop(future)
                result = future.result()
                ready.finish(key)
                for ref in refs_of(tasks[key]):
                    users[ref.key] -= 1
                    if not users[ref.key]:
                        del results[ref.key]
                if users[key]:
                    results[key] = result
                yield Ref(key), result if key in awaited else None
    except BrokenExecutor as error:
        msg = f"a worker of the pool died, and the pool with it ({error})"
        raise WorkersLostError(msg) from error
    finally:
        for future in running:
            future.cancel()


def _by_dask(graph: Graph, wanted: Sequence[Ref], client: Any) -> Finished:
    """Hand over the whole graph; tasks whose worker dies are done again by others."""
    from dask._task_spec import Task, TaskRef

    tasks, awaited = needed(graph, wanted), {ref.key for ref in wanted}
    tag = uuid4().hex[:8]  # keys of another call would stand for its results

    def named(x: Any) -> Any:
        return TaskRef(f"{x.key}~{tag}") if isinstance(x, Ref) else x

    spec = {
        f"{key}~{tag}": Task(f"{key}~{tag}", task[0], *(named(x) for x in task[1:]))
        for key, task in tasks.items()
    }
    watched = [key for key in tasks if key in awaited or str(key).startswith("fold")]
    futures = client.get(spec, [f"{key}~{tag}" for key in watched], sync=False, retries=TRIES)
    news: queue.SimpleQueue[Any] = queue.SimpleQueue()
    left = dict(zip(futures, watched, strict=True))
    for future in futures:
        future.add_done_callback(news.put)
    del futures
    seen = time.monotonic()
    try:
        while left:
            try:
                future = news.get(timeout=1.0)
            except queue.Empty:
                seen = _still_there(client, seen)
                continue
            key = left.pop(future)
            result = _result(future) if key in awaited or future.status != "finished" else None
            yield Ref(key), result
            del future  # which releases the result
    finally:
        client.cancel(list(left))


def _result(future: Any) -> Any:
    try:
        return future.result()
    except CancelledError as error:
        msg = "the Dask scheduler is gone"
        raise WorkersLostError(msg) from error
    except Exception as error:
        if type(error).__name__ in ("KilledWorker", "FutureCancelledError"):
            msg = f"the workers died one after the other ({error})"
            raise WorkersLostError(msg) from error
        raise


def _still_there(client: Any, seen: float) -> float:
    """Return when workers were last seen; WorkersLostError when that is too long ago."""
    try:
        workers = len(client.nthreads())
    except (OSError, TimeoutError):
        workers = 0
    if workers:
        return time.monotonic()
    if time.monotonic() - seen > PATIENCE:
        msg = f"the Dask cluster has had no worker for {PATIENCE:.0f} s"
        raise WorkersLostError(msg)
    return seen
