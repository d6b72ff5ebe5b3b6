"""A small run of the same graph in this process: what each kind of task takes and leaves behind.

A *kind* is the key of a task without its numbers: all tasks "fold-state-0", "fold-state-1", ... are
one kind. The *work* of a task is the number of tokens that it reads of its own block, times those
of the other side that it looks at if it looks at these; 1 if it reads none.

A *regime* is what the allocator of C does with memory that a task frees: keep it for the next task,
or give it back at once. Memory that was given back is handed out as pages that are zeroed at the
first touch, one page fault each: as many as the tasks take numbers, a block anew. glibc finds out
by itself what to do, and which regime it falls into depends on what a process did before; Dask asks
it to give memory back. So a trial is run in fresh processes, once in each regime.
"""

from __future__ import annotations

import math
import os
import pickle
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from approxattn.distributed.runs import laid_out, targets_of, write_block
from approxattn.distributed.sources import NpyFile, Rows, source_of
from approxattn.distributed.targets import make_targets
from approxattn.methods.sharded import Shards
from approxattn.sharding import tasks
from approxattn.sharding.checks import call_of, check_shapes, shards_of
from approxattn.sharding.plan import Graph, answers, filled, needed

SHORT, LONG, BLOCKS = 2**12, 2**16, 4
"""Tokens of a block in a first trial and at most, and blocks. *Chosen*."""

DEVIATION = 0.5
"""Of the normal tokens of a trial. *Chosen*: small scores, so that low degrees serve them."""

ENOUGH = 1.0
"""Seconds of processor time that a trial is made long enough for. *Chosen*."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is to be run: widths, dtype, method and how it is called."""

    method: Any
    d: int
    dv: int
    dtype: str
    scale: float | None
    causal: bool
    seed: int | None


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What tasks of one kind take.

    Attributes
    ----------
    rate : float
        Processor time for a unit of work, in seconds: the median.
    bytes : float
        Bytes of the arrays in a result; of a sampled pass for a unit of work.
    adds_up : bool
        Whether the result of a merge is as large as both of its parts together.
    """

    rate: float
    bytes: float
    adds_up: bool = False


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Kinds by their names, and the most that one worker held at a time, in bytes."""

    kinds: Mapping[str, Kind]
    peak: int


RETURNED = {"MALLOC_TRIM_THRESHOLD_": "65536"}
"""What Dask tells glibc: to give memory back from so many free bytes on. It then maps every array
above 128 KiB anew.
"""
KEPT = dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(2**30))
"""What lets it keep everything."""


def graph_of(problem: Problem, sources: Mapping[str, Any], shard: int, folder: str) -> Graph:
    """Return the graph of a run that writes to a folder, in an order in which it can be run."""
    dtypes = check_shapes(sources, causal=problem.causal)
    said = {"scale": problem.scale, "causal": problem.causal, "seed": problem.seed}
    shards: Shards = shards_of(problem.method, call_of(sources, dtypes.compute, **said))
    layout = laid_out(shards, sources, shard)
    shape = (*sources["q"].shape[:-1], sources["v"].shape[-1])
    targets = targets_of("value", shape, dtypes.out, shard, ".npy", "")
    graph: Graph = {}

    def finish(name: str, i: int) -> tuple[Any, ...]:
        return write_block, targets, folder, f"{name}-{i}", layout.queries[i][0]

    wanted = answers(layout, graph, finish)
    return needed(graph, [ref for refs in wanted.values() for ref in refs])


def imagined(problem: Problem, n: int) -> dict[str, NpyFile]:
    """Return files of n tokens that nobody has written."""
    dtype, widths = np.dtype(problem.dtype), {"q": problem.d, "k": problem.d, "v": problem.dv}
    return {
        name: NpyFile(path=f"/dev/null/{name}.npy", dtype=dtype, shape=(n, width), offset=0)
        for name, width in widths.items()
    }


def kind_of(key: str) -> str:
    """Return the kind of a task."""
    return re.sub(r"-\d+", "", key)


def read_by(task: tuple[Any, ...], *, causal: bool) -> tuple[int, int]:
    """Return the work of a task and the bytes that it reads from files."""
    rows = [x for x in task[1:] if isinstance(x, Rows)]
    if not rows:
        return 1, 0
    own = rows[: len(getattr(task[1], "takes", rows))]
    other = rows[len(own) :]
    tokens = own[0].last - own[0].first
    if task[0] is tasks.head:
        tokens = min(tokens, task[3])
    read = sum(_bytes(x, tokens) for x in own)
    if not other:
        return tokens, read
    work, sides = 0, [x for x in other if not x.first]
    for piece in tasks.cut(own[0], getattr(task[1], "multiple", 1)):
        seen = _before(own[0].first + piece.stop, other[0]) if causal else other[0].source.shape[-2]
        work += (piece.stop - piece.start) * seen
        read += sum(_bytes(x, seen) for x in sides)
    return work, read


def _before(stop: int, first: Rows) -> int:
    """Return how many tokens of the other side are read up to token `stop`, in whole pieces of
    blocks as long as the first one.
    """
    length, n = first.last, first.source.shape[-2]
    step = len(range(*tasks.cut(first)[0].indices(length)))
    begun = min(length, -(-(stop % length) // step) * step)
    return int(min(n, stop // length * length + begun))


def _bytes(rows: Rows, tokens: int) -> int:
    return int(tokens * rows.shape[-1] * rows.source.dtype.itemsize)


def array_bytes(x: Any) -> int:
    """Return how many bytes of arrays a message with x carries."""
    parts: list[pickle.PickleBuffer] = []
    pickle.dumps(x, protocol=5, buffer_callback=parts.append)
    return sum(part.raw().nbytes for part in parts)


def tried_in(regime: Mapping[str, str], problem: Problem) -> Trial:
    """Run a small problem in a fresh process whose allocator is told so; in this one, as it is, for
    a method that no other process can import.
    """
    if type(problem.method).__module__ == "__main__":
        return tried(problem)
    code = (
        "import pickle, sys; from approxattn.distributed.planning.trial import tried; "
        "pickle.dump(tried(pickle.load(sys.stdin.buffer)), sys.stdout.buffer)"
    )
    said = in_child(code, pickle.dumps(problem), regime)
    found: Trial = pickle.loads(said)  # noqa: S301 - of our own making
    return found


def in_child(code: str, given: bytes = b"", environment: Mapping[str, str] | None = None) -> bytes:
    """Return what Python says to a program in a fresh process, which imports what this one can."""
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=given,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths, **(environment or {})},
    )
    if done.returncode:
        msg = f"a trial in a fresh process failed: {done.stderr.decode(errors='replace')[-2000:]}"
        raise RuntimeError(msg)
    return done.stdout


def tried(problem: Problem) -> Trial:
    """Run a small problem, longer if the first one was too short to be timed."""
    with tempfile.TemporaryDirectory() as folder:
        length = SHORT
        while True:
            begun = time.process_time()
            graph = _written(problem, length, Path(folder))
            kinds = _timed(graph, causal=problem.causal)
            spent = time.process_time() - begun
            if spent > ENOUGH or length == LONG:
                break
            length = min(LONG, length * max(2, 2 ** int(math.log2(ENOUGH / max(spent, 1e-3)))))
        tracemalloc.start()
        try:
            _timed(graph, causal=problem.causal)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    return Trial(kinds=kinds, peak=peak)


def _written(problem: Problem, length: int, folder: Path) -> Graph:
    """Write tokens and targets; return the graph over them."""
    rng, sources = np.random.default_rng(0), {}
    for name, imagined_one in imagined(problem, BLOCKS * length).items():
        path = folder / f"{name}.npy"
        tokens = DEVIATION * rng.standard_normal(imagined_one.shape)
        np.save(path, tokens.astype(problem.dtype))
        sources[name] = source_of(name, path)
    graph = graph_of(problem, sources, length, str(folder))
    targets = next(x for task in graph.values() for x in task[1:] if _holds_targets(x))[0]
    make_targets(targets.values(), folder)
    return graph


def _holds_targets(x: Any) -> bool:
    return isinstance(x, tuple) and bool(x) and isinstance(x[0], dict)


def _timed(graph: Graph, *, causal: bool) -> dict[str, Kind]:
    """Carry the graph out, task by task."""
    results: dict[Any, Any] = {}
    rates: dict[str, list[float]] = defaultdict(list)
    left: dict[str, tuple[float, bool]] = {}
    for key, task in graph.items():
        function, *arguments = filled(task, results)
        begun = time.process_time()
        results[key] = function(*arguments)
        work, kind = read_by(task, causal=causal)[0], kind_of(key)
        rates[kind].append((time.process_time() - begun) / work)
        size = array_bytes(results[key])
        adds_up = task[0] is tasks.merge and size == sum(map(array_bytes, arguments)) > 0
        left[kind] = (size / work if task[0] is tasks.head else size, adds_up)
    return {
        kind: Kind(rate=statistics.median(found), bytes=left[kind][0], adds_up=left[kind][1])
        for kind, found in rates.items()
    }
