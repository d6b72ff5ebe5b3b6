"""What a run over n tokens will take (capacity model), from its own graph.

Symbols. The run has tasks t with work w_t (tokens read), by W workers. Of each kind of task
(`trial`) the rate r, in seconds of processor time for a unit of work, and the bytes s that a result
leaves behind are measured here, on a small run of the same code, once while the allocator keeps
what tasks free and once while it gives that back.

1. *Tasks.* The graph of the run is made, with files that are only imagined, and counted. Every
   block is read once by each pass, and once for the answers; merges form a tree of depth log2 of
   the number of blocks, twice that under a causal mask.
2. *Processor time* is sum_t r w_t. It is linear in n: work is tokens, and merges are one a block.
   Methods that look at all tokens of the other side make it quadratic. A worker of Dask is asked
   to give memory back, so the rates of that regime are its own; for others those are the most.
3. *Bytes read* are those of the blocks in the arguments of all tasks. *Bytes written* are the
   output, and 8 bytes a row for its bound.
4. *Messages.* This process sends none. A pool gets each task with what it refers to, and sends its
   result back: two messages a task. Dask's workers fetch from each other: at most one message for
   each of a result's users, and no more than the other workers. Bytes are those of arrays; what
   stands around them is about a kilobyte a message.
5. *Memory* of a worker: what a process holds once it has imported this package (measured), and
   twice what a task allocates at its peak (measured): an allocator keeps about as much again. What
   waits for its users is held by this process (a pool's results too), or shared by Dask's workers:
   the most of it is found by going through the tasks in their order.
6. *Dispatch.* A scheduler starts tasks one after the other, each in a time that was measured.
7. *Wall time* is that of list scheduling (Graham 1966; wording unverified) played through: a task
   starts when what it needs is there, a worker is free, and the scheduler has come to it. Where
   storage gives a worker fewer bytes a second than it can use, a task takes as long as reading.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from approxattn._arguments import check_choice, check_flag, check_integer, check_positive
from approxattn.certificate.record import Record
from approxattn.distributed.planning.trial import (
    KEPT,
    RETURNED,
    Problem,
    Trial,
    graph_of,
    imagined,
    in_child,
    kind_of,
    read_by,
    tried_in,
)
from approxattn.methods.costs import Costed
from approxattn.sharding import tasks
from approxattn.sharding.plan import Graph, refs_of
from approxattn.sharding.ready import Ready

ENGINES = ("here", "pool", "dask")

DISPATCH = {"here": 0.0, "pool": 3e-4, "dask": 1e-3}
"""Seconds that a scheduler takes for a task: measured by `benchmarks/across_workers.py`."""

DASK_MIB = 25.0
"""What a Dask worker holds beyond the imports of this package; measured likewise."""

MOST_ARGUMENTS = 4_000_000
"""Blocks in the arguments of all tasks that a graph is still made for. *Chosen*: some seconds."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Capacity(Record):
    """What a run will take.

    Attributes
    ----------
    n, workers, engine, blocks
        The run: tokens, workers, who carries it out, and into how many blocks it is cut.
    tasks : int
        Tasks of the graph.
    multiply_adds : int or None
        Of the output, as `method.cost` has it; None where only the data tell.
    bytes_read, bytes_written : int
        From and to files, by all workers.
    messages, message_bytes : int
        Between processes, and the bytes of arrays in them.
    largest_result : int
        Bytes of the largest result of a task: the merged state, mostly.
    processor_seconds, dispatch_seconds, wall_seconds : float
        Of all workers together, of the scheduler, and on the clock.
    most_processor_seconds : float
        Of all workers together, where the allocator gives back what tasks free.
    seconds : mapping of str to float
        Processor time by kinds of tasks.
    worker_mib, waiting_mib : float
        Private memory of a worker; what waits for its users.
    """

    n: int
    workers: int
    engine: str
    blocks: int
    tasks: int
    multiply_adds: int | None
    bytes_read: int
    bytes_written: int
    messages: int
    message_bytes: int
    largest_result: int
    processor_seconds: float
    most_processor_seconds: float
    dispatch_seconds: float
    wall_seconds: float
    worker_mib: float
    waiting_mib: float
    seconds: Mapping[str, float] = field(default_factory=dict)

    def _summary(self) -> str:
        return (
            f"{self.n:.4g} tokens, {self.workers} x {self.engine}: {_time(self.wall_seconds)}, "
            f"{self.worker_mib:.0f} MiB a worker"
        )

    def _table(self) -> dict[str, str]:
        shown = {k: x for k, x in self.seconds.items() if x > 0.01 * self.processor_seconds}
        made = "the data decide" if self.multiply_adds is None else f"{self.multiply_adds:.3g}"
        return {
            "blocks, tasks": f"{self.blocks:,}, {self.tasks:,}",
            "multiply-adds of the output": made,
            "processor time": _time(self.processor_seconds),
            "... if memory goes back": _time(self.most_processor_seconds),
            "... by kind": ", ".join(f"{kind} {_time(x)}" for kind, x in shown.items()),
            "read, written": f"{self.bytes_read / 1e9:.3g} GB, {self.bytes_written / 1e9:.3g} GB",
            "messages": f"{self.messages:,}, {self.message_bytes / 1e6:.3g} MB of arrays",
            "largest result": f"{self.largest_result / 1e3:.3g} kB",
            "memory of a worker": f"{self.worker_mib:.0f} MiB",
            "results that wait": f"{self.waiting_mib:.0f} MiB",
            "scheduler": _time(self.dispatch_seconds),
            "wall time": _time(self.wall_seconds),
        }

    def __str__(self) -> str:
        width = max(map(len, self._table()))
        lines = (f"{name:<{width}}  {value}" for name, value in self._table().items())
        return "\n".join([self._summary(), *lines])


def capacity(
    n: int,
    method: Any,
    *,
    d: int,
    dv: int | None = None,
    workers: int = 1,
    engine: str | None = None,
    dtype: str = "float32",
    scale: float | None = None,
    causal: bool = False,
    shard: int = 2**18,
    seed: int | None = None,
    read_rate: float | None = None,
) -> Capacity:
    """Estimate what `distributed.attention` will take, from rates measured here in a few seconds.

    Parameters
    ----------
    n : int
        Queries, and as many keys.
    method : Method
        As it would be given to `distributed.attention`. A tolerance is met for normal tokens of
        deviation 1/2: others may need another degree.
    d, dv : int
        Widths of keys and values; dv = d if not given.
    workers : int
        Processes with one thread each, as fast as this one.
    engine : {"here", "pool", "dask"}, optional
        This process, a pool of processes, a Dask cluster. By default this process for one worker
        and a pool for more.
    dtype : str
        Of the files.
    scale, causal, shard, seed
        As in `distributed.attention`.
    read_rate : float, optional
        Bytes a second that storage gives each worker; by default files are in memory already.

    Returns
    -------
    Capacity
        Print it, or read its attributes.

    Raises
    ------
    TypeError, ValueError
        What `distributed.attention` refuses; so many blocks that the graph is too large.

    Examples
    --------
    >>> import approxattn as aa
    >>> from approxattn import distributed
    >>> told = distributed.capacity(2**20, aa.Polynomial(degree=1), d=4, shard=2**18)
    >>> told.blocks, told.bytes_written  # 16 bytes of output and 8 of its bound a row
    (4, 25165824)
    """
    for name, number in (("n", n), ("d", d), ("workers", workers), ("shard", shard)):
        check_integer(name, number, 1)
    check_flag("causal", causal)
    engine = engine or ("here" if workers == 1 else "pool")
    check_choice("engine", engine, ENGINES)
    if engine == "here" and workers > 1:
        msg = f"workers(={workers}) must be 1 with engine='here', this process: name another engine"
        raise ValueError(msg)
    _check_dtype(dtype)
    if read_rate is not None:
        check_positive("read_rate", read_rate)
    problem = Problem(
        method=method, d=d, dv=dv or d, dtype=dtype, scale=scale, causal=causal, seed=seed
    )
    graph = _checked_graph(problem, n, shard)
    most = tried_in(RETURNED, problem)
    trial = most if engine == "dask" else tried_in(KEPT, problem)
    told = estimated(problem, trial, graph, n=n, workers=workers, engine=engine, rate=read_rate)
    seconds = sum(_seconds(graph, most, causal).values())
    return replace(told, most_processor_seconds=max(seconds, told.processor_seconds))


def _check_dtype(dtype: str) -> None:
    try:
        known = np.dtype(dtype).kind in "biuf"
    except TypeError:
        known = False
    if not known:
        msg = f"dtype(={dtype!r}) must be one of real numbers, such as float32 or int8"
        raise ValueError(msg)


def _checked_graph(problem: Problem, n: int, shard: int) -> Graph:
    blocks = -(-n // shard)
    few = graph_of(problem, imagined(problem, min(n, 2 * shard)), shard, "")
    across = any(getattr(x, "across", ()) for task in few.values() for x in task[1:])
    if blocks * (blocks if across else 1) > MOST_ARGUMENTS:
        msg = f"shard={shard} cuts {n} tokens into {blocks} blocks: give a larger shard"
        raise ValueError(msg)
    return graph_of(problem, imagined(problem, n), shard, "")


def estimated(
    problem: Problem,
    trial: Trial,
    graph: Graph,
    *,
    n: int,
    workers: int,
    engine: str,
    rate: float | None = None,
) -> Capacity:
    """Return what a graph will take, from what a trial has shown of its kinds."""
    sizes = sizes_of(graph, trial)
    seconds, read = _seconds(graph, trial, problem.causal), 0
    by_kind: dict[str, float] = defaultdict(float)
    for key, task in graph.items():
        found = read_by(task, causal=problem.causal)[1]
        by_kind[kind_of(key)] += seconds[key]
        seconds[key] = max(seconds[key], found / rate) if rate else seconds[key]
        read += found
    messages, moved = messages_of(graph, sizes, workers, engine)
    dispatch = DISPATCH[engine]
    last = [key for key, task in graph.items() if task[0] in (tasks.answer, tasks.advance)]
    width = problem.dv * _out_bytes(problem)
    return Capacity(
        n=n,
        workers=workers,
        engine=engine,
        blocks=len(last),
        tasks=len(graph),
        multiply_adds=_multiply_adds(problem, n),
        bytes_read=read,
        bytes_written=n * (width + 8),
        messages=messages,
        message_bytes=moved,
        largest_result=round(max(sizes.values(), default=0)),
        processor_seconds=float(sum(by_kind.values())),
        most_processor_seconds=float(sum(by_kind.values())),
        dispatch_seconds=dispatch * len(graph),
        wall_seconds=played(graph, seconds, workers, dispatch),
        worker_mib=base_mib() + 2 * trial.peak / 2**20 + (DASK_MIB if engine == "dask" else 0.0),
        waiting_mib=waiting(graph, sizes) / 2**20,
        seconds=dict(by_kind),
    )


def _seconds(graph: Graph, trial: Trial, causal: bool) -> dict[str, float]:
    """Return the processor time of each task."""
    return {
        key: trial.kinds[kind_of(key)].rate * read_by(task, causal=causal)[0]
        for key, task in graph.items()
    }


def sizes_of(graph: Graph, trial: Trial) -> dict[str, float]:
    """Return the bytes of the arrays in each result."""
    sizes: dict[str, float] = {}
    for key, task in graph.items():
        kind = trial.kinds[kind_of(key)]
        if kind.adds_up:
            sizes[key] = sum(sizes[ref.key] for ref in refs_of(task))
        else:
            work = read_by(task, causal=False)[0] if task[0] is tasks.head else 1
            sizes[key] = kind.bytes * work
    return sizes


def messages_of(
    graph: Graph, sizes: Mapping[str, float], workers: int, engine: str
) -> tuple[int, int]:
    """Return the number of messages between processes, and the bytes of arrays in them."""
    if engine == "here":
        return 0, 0
    users = Counter(ref.key for task in graph.values() for ref in refs_of(task))
    if engine == "pool":
        moved = sum(size * (1 + users[key]) for key, size in sizes.items())
        return 2 * len(graph), round(moved)
    fetched = {key: min(users[key], workers - 1) for key in graph}
    moved = sum(sizes[key] * times for key, times in fetched.items())
    return sum(fetched.values()), round(moved)


def waiting(graph: Graph, sizes: Mapping[str, float]) -> float:
    """Return the most bytes of results that wait for their users, one task after the other."""
    users = Counter(ref.key for task in graph.values() for ref in refs_of(task))
    held = most = 0.0
    for key, task in graph.items():
        held += sizes[key] if users[key] else 0.0
        most = max(most, held)
        for ref in refs_of(task):
            users[ref.key] -= 1
            if not users[ref.key]:
                held -= sizes[ref.key]
    return most


def played(graph: Graph, seconds: Mapping[str, float], workers: int, dispatch: float) -> float:
    """Return when the last task is done: each starts as early as it can, in the order of the
    graph.
    """
    ready, free, now, scheduler = Ready(graph), workers, 0.0, 0.0
    running: list[tuple[float, int, str]] = []
    while ready or running:
        while ready and free:
            key = ready.take()
            scheduler = max(now, scheduler) + dispatch
            heapq.heappush(running, (scheduler + seconds[key], len(running), key))
            free -= 1
        now, _, key = heapq.heappop(running)
        free += 1
        ready.finish(key)
    return now


def _multiply_adds(problem: Problem, n: int) -> int | None:
    if not isinstance(problem.method, Costed):
        return None
    try:
        return problem.method.cost(n, n, problem.d, problem.dv, dtype="float32").multiply_adds
    except ValueError:
        return None


def _out_bytes(problem: Problem) -> int:
    return np.dtype(problem.dtype).itemsize if "float" in problem.dtype else 8


def base_mib() -> float:
    """Return the private memory of a fresh process that has imported this package, in MiB; that of
    Linux here where the system does not tell.
    """
    if not Path("/proc/self/status").exists():
        return 26.0
    code = (
        "import approxattn.distributed, pathlib; "
        "print(*(x for x in pathlib.Path('/proc/self/status').read_text().splitlines() "
        "if x.startswith('RssAnon')))"
    )
    return int(in_child(code).split()[1]) / 1024


def _time(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.3g} s"
