"""Threads for NumPy: as many as its BLAS may use, each with a BLAS of one thread.

A BLAS that splits a thin product over threads gains little and leaves the products entry by entry
to one of them; threads over tokens share both. Whoever limits the BLAS (OMP_NUM_THREADS,
threadpoolctl) limits the threads here as well.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import ThreadpoolController

T = TypeVar("T")

WORTH_A_THREAD = 2**24
"""Multiply-adds a worker must have. *Chosen*: some milliseconds, against the tenths that starting a
thread takes.
"""


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # finding the loaded libraries takes milliseconds


def worker_count(operations: float, tasks: int) -> int:
    """Return how many threads that many multiply-adds in that many independent tasks deserve."""
    if operations < 2 * WORTH_A_THREAD or tasks < 2:
        return 1
    allowed = max(
        (blas.num_threads for blas in _libraries().select(user_api="blas").lib_controllers),
        default=1,
    )
    return max(1, min(allowed, tasks, int(operations // WORTH_A_THREAD)))


def shares(n: int, workers: int, step: int = 1) -> list[slice]:
    """Return 0..n-1 in at most `workers` runs of whole steps (but for the last), as equal as can
    be.
    """
    steps = -(-n // step)
    cuts = [min(n, step * (steps * i // workers)) for i in range(workers + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(cuts) if b > a] or [slice(0, 0)]


def gather(tasks: list[Callable[[], T]]) -> list[T]:
    """Run the tasks, each in a thread of its own, and return their results in order; a single one
    runs here.
    """
    if len(tasks) == 1:
        return [tasks[0]()]
    with _libraries().limit(limits=1, user_api="blas"), ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(task) for task in tasks]]
