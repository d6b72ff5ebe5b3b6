"""Workers killed while they work: the same bits, at once or by the same call again."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import approxattn as aa
from approxattn import distributed

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from sharded_runs import kills
from sharded_runs.engines import Run
from sharded_runs.inputs import files

METHOD = aa.Polynomial(degree=3)


@pytest.mark.parametrize(("method", "after"), [(METHOD, 9), (aa.SelectedSummaries(), 3)], ids=str)
def test_a_pool_that_loses_a_worker_continues_from_the_manifest(
    tmp_path: Path, method, after: int
) -> None:
    arrays = np.random.default_rng(0).standard_normal((3, 8000, 8)).astype("f4")
    paths = [tmp_path / f"{name}.npy" for name in "qkv"]
    for path, x in zip(paths, arrays, strict=True):
        np.save(path, x)
    want = distributed.attention(*arrays, method, shard=1024)
    out, spawn = tmp_path / "o.npy", multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:

        def kill(done: int, total: int) -> None:
            del total
            if done == after:
                for process in list(pool._processes.values()):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)

        with pytest.raises(distributed.WorkersLostError, match=r"of 8 blocks .* continues"):
            distributed.attention(*paths, method, out=out, shard=1024, executor=pool, progress=kill)
    assert not out.exists()
    done = distributed.attention(*paths, method, out=out, shard=1024)
    assert (done.value == want.value).all()
    assert (done.rows == want.certificate.rows).all()


@pytest.mark.parametrize("kind", ["random", "state", "all"])
def test_a_cluster_that_loses_workers(tmp_path: Path, monkeypatch, kind: str) -> None:
    """Any of them, the one that holds the merged state, or all of them for good: the same bits, at
    once or by the same call again, after an error that says how far it came.
    """
    pytest.importorskip("distributed")
    if kind == "all":
        monkeypatch.setattr("approxattn.distributed.engines.PATIENCE", 2.0)
    monkeypatch.setattr(kills, "SHARD", 2**13)
    # all must be gone before the run is done
    exponent, longest = (19, 0.5) if kind == "all" else (17, 1.0)
    run, out = Run(engine="dask", exponent=exponent, workers=2), tmp_path / "o.npy"
    paths = files(tmp_path, run.exponent)
    kills.call(run, paths, tmp_path / "want.npy")
    found = kills.killed(run, paths, out, kind, np.random.default_rng(0), longest)
    assert found["killed after"]
    assert found["digests"] == kills.digests(tmp_path / "want.npy") != ""
    if kind == "all":
        assert found["calls"] == 2
        assert "blocks are written" in found["said"][0]
        assert "the same call continues" in found["said"][0]
    else:
        assert found["calls"] == 1
