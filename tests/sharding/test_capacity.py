"""What the capacity model counts, against a real run: exactly; how it plays a graph, by hand."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import approxattn as aa
from approxattn import distributed
from approxattn.__main__ import main
from approxattn.distributed.planning import model, trial
from approxattn.distributed.sources import NpyFile
from approxattn.monomials import numpy_state
from approxattn.sharding.plan import Graph, Ref

N, SHARD, D = 2300, 600, 5


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates are not looked at here."""
    monkeypatch.setattr(trial, "ENOUGH", 0.0)
    monkeypatch.setattr(trial, "SHORT", 512)
    monkeypatch.setattr(model, "base_mib", lambda: 26.0)
    monkeypatch.setattr(model, "tried_in", lambda _, problem: trial.tried(problem))


BASE = model.base_mib


class Counted:
    """A pool of two workers that counts what is sent, and does the work at once."""

    _max_workers = 2

    def __init__(self) -> None:
        self.messages = self.bytes = self.tasks = 0

    def submit(self, function: Any, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        result = function(*arguments)
        self.tasks += 1
        for message in (arguments, result):
            self.messages += 1
            self.bytes += trial.array_bytes(message)
        future.set_result(result)
        return future


def run(tmp_path: Path, method: Any, monkeypatch: pytest.MonkeyPatch, **options: Any):
    """Run for real; return what was counted, the bytes read and those of the output."""
    paths, read = [tmp_path / f"{name}.npy" for name in "qkv"], [0]
    for i, path in enumerate(paths):
        width = D + 1 if i == 2 else D
        np.save(path, np.random.default_rng(i).standard_normal((N, width)).astype("f4") / 2)
    tokens = NpyFile.tokens

    def counting(self: NpyFile, first: int, last: int):
        found = tokens(self, first, last)
        read[0] += found.nbytes
        return found

    pool = Counted()
    fingerprint = NpyFile.fingerprint
    monkeypatch.setattr(NpyFile, "fingerprint", lambda _: "")  # is read once, by nobody's task
    monkeypatch.setattr(NpyFile, "tokens", counting)
    out = tmp_path / "o.npy"
    distributed.attention(*paths, method, out=out, executor=pool, shard=SHARD, **options)
    monkeypatch.setattr(NpyFile, "tokens", tokens)
    monkeypatch.setattr(NpyFile, "fingerprint", fingerprint)
    rows = np.load(tmp_path / "o.npy.run" / "rows.npy")
    return pool, read[0], np.load(out).nbytes + rows.nbytes


CASES = [
    (aa.Polynomial(degree=3), False),
    (aa.Polynomial(degree=2), True),
    (aa.Polynomial(degree=2, basis="taylor"), False),
    (aa.Exact(), False),
    (aa.Exact(), True),
    (aa.SelectedSummaries(heavy=2, recent=8, block=8), True),
]


@pytest.mark.parametrize(("method", "causal"), CASES)
def test_counts_are_those_of_a_run(method, causal, tmp_path: Path, monkeypatch) -> None:
    pool, read, written = run(tmp_path, method, monkeypatch, causal=causal)
    told = distributed.capacity(
        N, method, d=D, dv=D + 1, shard=SHARD, workers=2, engine="pool", causal=causal
    )
    assert told.blocks == 4
    assert (told.tasks, told.messages) == (pool.tasks, pool.messages)
    assert told.message_bytes == pool.bytes
    assert (told.bytes_read, told.bytes_written) == (read, written)


def test_multiply_adds_are_those_of_a_run(tmp_path: Path, monkeypatch) -> None:
    """Within a factor of two, as `Costed` promises: the scheme decides about the rest."""
    counted, matmul = [0], np.matmul

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        def matmul(self, a, b, **options):
            counted[0] += a.size * b.shape[-1]
            return matmul(a, b, **options)

    monkeypatch.setattr(numpy_state, "np", Counting())
    method = aa.Polynomial(degree=3)
    run(tmp_path, method, monkeypatch)
    found = counted[0]
    told = distributed.capacity(N, method, d=D, dv=D + 1).multiply_adds
    assert told is not None
    assert found / 2 <= told <= 2 * found


def chain(length: int) -> Graph:
    graph: Graph = {"a-0": (abs,)}
    for i in range(1, length):
        graph[f"a-{i}"] = (abs, Ref(f"a-{i - 1}"))
    return graph


def test_wall_time_is_played() -> None:
    free: Graph = {f"a-{i}": (abs,) for i in range(6)}
    ones = dict.fromkeys(free, 1.0)
    assert model.played(free, ones, 1, 0.0) == 6
    assert model.played(free, ones, 2, 0.0) == 3
    assert model.played(free, ones, 4, 0.0) == 2
    assert model.played(free, ones, 6, 2.0) == 13  # the scheduler starts one every 2 s
    line = chain(6)
    assert model.played(line, dict.fromkeys(line, 1.0), 8, 0.0) == 6
    diamond: Graph = {"a": (abs,), "b": (abs, Ref("a")), "c": (abs, Ref("a"), Ref("a"))}
    diamond["d"] = (abs, Ref("b"), Ref("c"))
    assert model.played(diamond, {"a": 1, "b": 2, "c": 5, "d": 1}, 2, 0.0) == 7


def test_what_waits() -> None:
    line = chain(5)
    free: Graph = {f"a-{i}": (abs,) for i in range(4)}
    assert model.waiting(line, dict.fromkeys(line, 10.0)) == 20
    free["root"] = (abs, *map(Ref, list(free)))
    assert model.waiting(free, dict.fromkeys(free, 10.0)) == 40


def test_dask_moves_less_than_a_pool() -> None:
    method = aa.Polynomial(degree=2)
    pool, dask, here = (
        distributed.capacity(N, method, d=D, shard=SHARD, workers=workers, engine=engine)
        for workers, engine in ((3, "pool"), (3, "dask"), (1, "here"))
    )
    assert here.messages == here.message_bytes == 0
    assert 0 < dask.message_bytes < pool.message_bytes
    assert dask.dispatch_seconds > pool.dispatch_seconds > here.dispatch_seconds


def test_slow_storage_and_many_workers() -> None:
    method = aa.Polynomial(degree=1)
    told = {
        (workers, rate): distributed.capacity(
            2**20, method, d=D, shard=2**16, workers=workers, read_rate=rate
        ).wall_seconds
        for workers in (1, 4)
        for rate in (1e5, None)
    }
    slow = 2**20 * D * 4 * 5 / 1e5  # q and k twice, v once
    assert told[1, 1e5] >= slow > 10 * told[1, None]
    assert slow / 4 <= told[4, 1e5] <= 1.2 * told[1, 1e5] / 4


def test_the_command(capsys) -> None:
    words = "capacity --n 1e6 --d 4 --workers 64 --method Polynomial(degree=2) --shard 2**16"
    assert main(words.split()) == 0
    said = capsys.readouterr().out
    assert "1e+06 tokens, 64 x pool" in said
    assert "memory of a worker" in said
    assert main([*words.split(), "--shard", "1", "--n", "1e8"]) == 2
    assert "give a larger shard" in capsys.readouterr().err
    assert main(["capacity", "--n", "9", "--d", "4", "--method", "Clustered()"]) == 2


def test_trials_in_fresh_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work; what a test, or a user's main program, has made cannot be imported there."""
    problem = trial.Problem(
        method=aa.Polynomial(degree=1),
        d=2,
        dv=2,
        dtype="float32",
        scale=None,
        causal=False,
        seed=None,
    )
    here = trial.tried(problem)
    ran = []
    real = trial.in_child

    def watched(code: str, given: bytes, environment) -> bytes:
        ran.append(environment)
        # shorter: rates are not looked at here
        code = f"import {trial.__name__} as t; t.ENOUGH = 0.0; t.SHORT = 512; {code}"
        return real(code, given, environment)

    monkeypatch.setattr(trial, "in_child", watched)
    there = trial.tried_in(trial.RETURNED, problem)
    assert ran == [{"MALLOC_TRIM_THRESHOLD_": "65536"}]
    assert set(there.kinds) == set(here.kinds)
    assert all(there.kinds[name].bytes == kind.bytes for name, kind in here.kinds.items())
    mine = replace(problem, method=type("Mine", (aa.Exact,), {"__module__": "__main__"})())
    monkeypatch.setattr(trial, "tried", lambda problem: problem)
    assert trial.tried_in(trial.KEPT, mine) is mine
    with pytest.raises(RuntimeError, match="fresh process failed: no number"):
        real("raise SystemExit('no number')")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")
def test_memory_of_a_fresh_process() -> None:
    assert 10 < BASE() < 80
