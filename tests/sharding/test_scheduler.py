"""A scheduler and workers in processes of their own: the command, and the lazy form."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import approxattn as aa
from approxattn import distributed
from approxattn.__main__ import main

dask = pytest.importorskip("dask")
pytest.importorskip("distributed")

METHOD = "Polynomial(degree=3)"
N, SHARD = 20_000, 3000


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory) -> Iterator[str]:
    """Start a scheduler and two workers; yield its address."""
    folder = tmp_path_factory.mktemp("scheduler")
    at = folder / "scheduler.json"
    commands = [
        ["scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"],
        *[["worker", "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder)]] * 2,
    ]
    with contextlib.ExitStack() as stack:
        for words in commands:
            command = [sys.executable, "-m", "dask", *words, "--scheduler-file", str(at)]
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        yield _address(at)


def _address(at: Path) -> str:
    import distributed as dask_distributed

    begun = time.monotonic()
    while not at.exists():
        assert time.monotonic() - begun < 60, "no scheduler"
        time.sleep(0.1)
    with dask_distributed.Client(scheduler_file=str(at), set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        return str(client.scheduler.address)


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("tokens")
    found = [folder / f"{name}.npy" for name in "qkv"]
    for i, path in enumerate(found):
        np.save(path, np.random.default_rng(i).standard_normal((N, 6)).astype("f4"))
    return found


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_the_command(paths, scheduler: str, tmp_path: Path, capsys, suffix: str, causal) -> None:
    out = tmp_path / f"o{suffix}"
    files = [part for path in paths for part in (f"--{path.stem}", str(path))]
    words = ["--method", METHOD, "--out", str(out), "--shard", str(SHARD)]
    more = ["--scheduler", scheduler, *["--causal"] * causal]
    assert main(["attend", *files, *words, *more]) == 0
    said = capsys.readouterr()
    assert "dashboard: http://127.0.0.1:" in said.err
    tasks = 13 if causal else 14  # the last block of a scan leaves nothing for others
    assert f"{tasks} of {tasks} tasks" in said.err
    assert "0 s left" in said.err
    assert "within" in said.out
    want = distributed.attention(*paths, aa.Polynomial(degree=3), shard=SHARD, causal=causal)
    if suffix == ".zarr":
        zarr = pytest.importorskip("zarr")
        assert (zarr.open_array(str(out), mode="r")[:] == want.value).all()
    else:
        assert (np.load(out) == want.value).all()
    rows = np.load(tmp_path / f"o{suffix}.run" / "rows.npy")
    assert (rows == want.certificate.rows).all()


def test_an_error_of_a_worker_is_one_line(paths, scheduler: str, tmp_path: Path, capsys) -> None:
    nothing = tmp_path / "k.npy"
    keys = np.load(paths[1])
    keys[11_999] = np.nan
    np.save(nothing, keys)
    words = ["--q", str(paths[0]), "--k", str(nothing), "--v", str(paths[2]), "--method", METHOD]
    out = tmp_path / "o.npy"
    words += ["--out", str(out), "--shard", "3000", "--scheduler", scheduler]
    assert main(["attend", *words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("approxattn: k[2999, 0] is nan")
    assert said[-1].endswith("counted from token 9000)")
    assert not out.exists()


def test_no_scheduler_there(paths, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("approxattn.distributed.command.PATIENCE", 0.5)
    files = [part for path in paths for part in (f"--{path.stem}", str(path))]
    words = ["--method", METHOD, "--out", str(tmp_path / "o.npy")]
    assert main(["attend", *files, *words, "--scheduler", "tcp://127.0.0.1:9"]) == 2
    said = capsys.readouterr().err
    assert "does not answer: start one with `dask scheduler`" in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("causal", [False, True])
def test_lazy_and_eager_have_the_same_bits(paths, scheduler: str, causal: bool) -> None:
    import dask.array as da
    import distributed as dask_distributed

    from approxattn.dask import attention

    arrays = [np.load(path) for path in paths]
    method = aa.Polynomial(degree=3)
    want = distributed.attention(*arrays, method, shard=SHARD, causal=causal)
    lazy = [da.from_array(x, chunks=(SHARD, -1)) for x in arrays]
    out = attention(*lazy, method, causal=causal)
    found = [dask.compute(*out, scheduler=name) for name in ("threads", "processes")]
    with dask_distributed.Client(scheduler, set_as_default=False) as client:
        found.append(client.gather(client.compute(tuple(out))))
        eager = distributed.attention(*arrays, method, shard=SHARD, causal=causal, executor=client)
    for value, certificate in found:
        assert (value == want.value).all()
        assert (certificate.rows == want.certificate.rows).all()
    assert (eager.value == want.value).all()
