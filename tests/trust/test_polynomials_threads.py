"""Calls from many threads: the BLAS is as it was afterwards, and every result is bit by bit that of
a call by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import threadpoolctl

import approxattn as aa
from approxattn.monomials import workers


class Blas:
    """A BLAS that is only a number: how many threads it may use."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.changes: list[int] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        before, self.threads = self.threads, 1
        self.changes.append(1)
        try:
            yield
        finally:
            self.threads = before
            self.changes.append(before)


@pytest.fixture
def blas(monkeypatch: pytest.MonkeyPatch) -> Blas:
    found = Blas(4)
    monkeypatch.setattr(workers, "BLAS", workers.BlasLimit(lambda: found.threads, found.one))
    return found


def test_users_that_overlap_leave_the_limit_as_it_was(blas: Blas) -> None:
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        workers.gather([lambda: (inside.set(), leave.wait(10)), lambda: None])

    def second() -> None:
        inside.wait(10)
        workers.gather([lambda: leave.set(), lambda: None])

    threads = [threading.Thread(target=task) for task in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert blas.threads == 4
    assert blas.changes == [1, 4]


def test_the_limit_holds_as_long_as_anybody_is_inside(blas: Blas) -> None:
    inside, left, seen = threading.Event(), threading.Event(), []

    def first() -> None:
        workers.gather([lambda: inside.wait(10), lambda: None])
        left.set()

    def second() -> None:
        workers.gather([lambda: (inside.set(), left.wait(0.3), seen.append(blas.threads)), list])

    threads = [threading.Thread(target=first)]
    threads[0].start()
    while not blas.changes:  # until the first one is inside
        time.sleep(0.001)
    threads.append(threading.Thread(target=second))
    threads[1].start()
    for thread in threads:
        thread.join()
    assert seen == [1]
    assert blas.changes == [1, 4]


@pytest.mark.usefixtures("blas")
def test_tasks_have_the_error_handling_of_their_caller() -> None:
    with np.errstate(divide="ignore", over="raise", under="print", invalid="call"):
        here = np.geterr()
        assert workers.gather([np.geterr, np.geterr]) == [here, here]


def test_who_comes_while_the_first_waits_is_not_forgotten(blas: Blas) -> None:
    inside, leave = threading.Event(), threading.Event()

    def long() -> None:
        inside.wait(10)
        workers.gather([lambda: leave.wait(10), lambda: None])

    def first() -> None:
        workers.gather([lambda: (inside.set(), time.sleep(0.05)), lambda: None])

    def late() -> None:
        inside.wait(10)
        time.sleep(0.1)  # by now the first one waits for the long one
        leave.set()
        workers.gather([lambda: blas.changes.append(blas.threads), lambda: None])

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(task) for task in (first, long, late)]:
            done.result(timeout=20)
    assert blas.threads == 4
    assert set(blas.changes) == {1, 4}


def test_a_user_inside_a_task_does_not_wait_for_itself(blas: Blas) -> None:
    def inner() -> list[int]:
        return workers.gather([lambda: blas.threads, lambda: blas.threads])

    assert workers.gather([inner, inner]) == [[1, 1], [1, 1]]
    assert blas.changes == [1, 4]


def test_the_number_of_workers_does_not_depend_on_who_else_runs(blas: Blas) -> None:
    seen: list[int] = []

    def nested() -> None:
        assert blas.threads == 1
        seen.append(workers.worker_count(1e12, 100))

    workers.gather([nested, nested])
    assert seen == [4, 4]
    assert workers.worker_count(1e12, 100) == 4
    blas.threads = 2  # what the user sets counts
    assert workers.worker_count(1e12, 100) == 2


def test_a_task_that_fails_leaves_the_limit_as_it_was(blas: Blas) -> None:
    def fail() -> None:
        msg = "on purpose"
        raise RuntimeError(msg)

    for _ in range(3):
        with pytest.raises(RuntimeError, match="on purpose"):
            workers.gather([fail, lambda: None])
    assert blas.threads == 4
    assert workers.worker_count(1e12, 100) == 4


def limits() -> list[int]:
    return [x["num_threads"] for x in threadpoolctl.threadpool_info() if x["user_api"] == "blas"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_threads_get_the_bits_of_one(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "WORTH_A_THREAD", 2**12)
    method = aa.Polynomial(degree=4, basis="taylor")
    inputs = [
        np.random.default_rng(seed).uniform(-1, 1, (4, 1500, 4)).astype(dtype) for seed in range(6)
    ]
    before = limits()
    alone = [aa.attention(*x[:3], method).value for x in inputs]
    alone_dk = [aa.attention_vjp(*x, method).dk for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            values = list(pool.map(lambda x: aa.attention(*x[:3], method).value, inputs))
            dks = list(pool.map(lambda x: aa.attention_vjp(*x, method).dk, inputs))
            assert all(np.array_equal(a, b) for a, b in zip(values, alone, strict=True))
            assert all(np.array_equal(a, b) for a, b in zip(dks, alone_dk, strict=True))
    assert limits() == before
