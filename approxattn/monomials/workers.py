"""Threads for NumPy: as many as its BLAS may use, each with a BLAS of one thread.

A BLAS that splits a thin product over threads gains little and leaves the products entry by entry
to one of them; threads over tokens share both. Whoever limits the BLAS (OMP_NUM_THREADS,
threadpoolctl) limits the threads here as well.

The limit of a BLAS belongs to the whole process, and threadpoolctl lets only the thread that set it
put it back. So

1. the first of several users that run at one time sets the limit, and a lock counts them;
2. the first one puts it back when all have left; who comes in the meantime waits until then;
3. while it is set, the number that the first one found is the number that counts: a call gets as
   many threads, and so the same bits, whoever else is running;
4. a user inside another one's task changes nothing: its BLAS is limited already.

`single_thread` goes further: whatever is called inside has one thread, so that its bits are those
of the call alone, whoever else is running and however many threads this process may have.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

T = TypeVar("T")

WORTH_A_THREAD = 2**24
"""Multiply-adds a worker must have. *Chosen*: some milliseconds, against the tenths that starting a
thread takes.
"""


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # finding the loaded libraries takes milliseconds


_INSIDE: ContextVar[bool] = ContextVar("_INSIDE", default=False)
"""Whether this is a task of a user: tasks run in copies of the user's context."""


class BlasLimit:
    """A BLAS of one thread for as long as anybody asks for it.

    Parameters
    ----------
    threads : callable
        Returns how many threads the BLAS may use now.
    limit : callable
        Returns a context in which it uses one.
    """

    def __init__(
        self, threads: Callable[[], int], limit: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        self._threads, self._limit = threads, limit
        self._changed = threading.Condition()
        self._users = 0
        self._found = 1
        self._closing = False

    def allowed(self) -> int:
        """Return how many threads the BLAS may use when nobody here limits it."""
        with self._changed:
            return self._found if self._users else self._threads()

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Limit the BLAS until all that are inside have left."""
        if _INSIDE.get():
            yield
            return
        limit = self._enter()
        token = _INSIDE.set(True)
        try:
            yield
        finally:
            _INSIDE.reset(token)
            self._leave(limit)

    def _enter(self) -> AbstractContextManager[Any] | None:
        """Return the limit to put back, for the first user; None for others."""
        limit = None
        with self._changed:
            while self._closing:
                self._changed.wait()
            if not self._users:
                self._found = self._threads()
                limit = self._limit()
                limit.__enter__()
            self._users += 1
        return limit

    def _leave(self, limit: AbstractContextManager[Any] | None) -> None:
        with self._changed:
            self._users -= 1
            self._changed.notify_all()
            if limit is None:
                return
            self._closing = True
            try:
                while self._users:
                    self._changed.wait()
            finally:
                limit.__exit__(None, None, None)
                self._closing = False
                self._changed.notify_all()


def _blas_threads() -> int:
    libraries = _libraries().select(user_api="blas").lib_controllers
    return max((library.num_threads for library in libraries), default=1)


BLAS = BlasLimit(_blas_threads, lambda: _libraries().limit(limits=1, user_api="blas"))
"""The one of this process."""


_SINGLE: ContextVar[bool] = ContextVar("_SINGLE", default=False)


@contextmanager
def single_thread() -> Iterator[None]:
    """Let everything that is called inside use one thread."""
    token = _SINGLE.set(True)
    try:
        with BLAS.one_thread():
            yield
    finally:
        _SINGLE.reset(token)


def worker_count(operations: float, tasks: int) -> int:
    """Return how many threads that many multiply-adds in that many independent tasks deserve."""
    if _SINGLE.get() or operations < 2 * WORTH_A_THREAD or tasks < 2:
        return 1
    return max(1, min(BLAS.allowed(), tasks, int(operations // WORTH_A_THREAD)))


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
    with BLAS.one_thread(), ThreadPoolExecutor(len(tasks)) as pool:
        # each in a copy of the caller's context, which also holds numpy.errstate
        futures = [pool.submit(copy_context().run, task) for task in tasks]
        return [future.result() for future in futures]
