"""Runs that write to files: interrupted, continued, refused, short of room."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import approxattn as aa
from approxattn import distributed

METHOD = aa.Polynomial(degree=3)
BLOCKS = 5


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.npy" for name in "qkv"]
    for path in paths:
        np.save(path, rng.standard_normal((100, 4)).astype("f4"))
    return paths


def run(files, out: Path, method=METHOD, **options):
    return distributed.attention(*files, method, out=out, shard=20, **options)


def whole(files, **options):
    return distributed.attention(*map(np.load, files), METHOD, shard=20, **options)


class Stop(Exception):
    """An interruption."""


def stop_after(count: int):
    def progress(done: int, total: int) -> None:
        assert total >= done
        if done == count:
            raise Stop

    return progress


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("after", [1, BLOCKS, BLOCKS + 2, 2 * BLOCKS - 1])
def test_an_interrupted_run_continues(files, tmp_path: Path, after: int, causal: bool) -> None:
    out = tmp_path / "o.npy"
    with pytest.raises(Stop):
        run(files, out, progress=stop_after(after), causal=causal)
    assert not out.exists()
    there = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "o.npy.run").glob("block-*.json")}
    seen = []
    done = run(files, out, progress=lambda *counts: seen.append(counts), causal=causal)
    want = whole(files, causal=causal)
    assert (done.value == want.value).all()
    assert (done.rows == want.certificate.rows).all()
    assert (done.bound == want.certificate.bound).all()
    assert done.certificate.theorem == want.certificate.theorem
    assert all(total <= 2 * BLOCKS - len(there) for _, total in seen)
    assert len(seen) == (seen[-1][1] if seen else 0)
    assert sorted(p.name for p in tmp_path.iterdir() if "o.npy" in p.name) == ["o.npy", "o.npy.run"]
    again = run(files, out, progress=stop_after(1), causal=causal)  # nothing is left to do
    assert (again.value == want.value).all()
    assert "within" in repr(again)
    json.dumps(again.to_dict())


@pytest.mark.parametrize("leading", [(), (2,)])
def test_maps_arrays_pools_and_paths_have_the_same_bits(tmp_path: Path, leading) -> None:
    rng = np.random.default_rng(1)
    arrays = rng.standard_normal((3, *leading, 90, 4)).astype("f4")
    paths = [tmp_path / f"{i}.npy" for i in range(3)]
    for path, x in zip(paths, arrays, strict=True):
        np.save(path, np.concatenate([x, x], axis=-2))
    want = distributed.attention(*arrays, METHOD, shard=20)
    maps = [np.load(path, mmap_mode="r")[..., 90:, :] for path in paths]
    for i, executor in enumerate((None, ThreadPoolExecutor(2))):
        out = run(maps, tmp_path / f"o{i}.npy", executor=executor)
        assert (out.value == want.value).all()
        assert (out.rows == want.certificate.rows).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"method": aa.Polynomial(degree=2)}, "with method Polynomial.degree=3"),
        ({"causal": True}, "with causal"),
        ({"scale": 1.0}, "with scale"),
        ("input", "with k "),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_another_call_is_refused(files, tmp_path: Path, change, match: str, finished: bool) -> None:
    out = tmp_path / "o.npy"
    if finished:
        run(files, out)
    else:
        with pytest.raises(Stop):
            run(files, out, progress=stop_after(7))
    before = out.read_bytes() if finished else b""
    if change == "input":
        other = np.load(files[1])
        other[50, 1] += 1e-3
        np.save(files[1], other)
        change = {}
    with pytest.raises(ValueError, match=match):
        run(files, out, **change)
    assert (out.read_bytes() if finished else b"") == before


def test_what_is_no_run_is_left_alone(files, tmp_path: Path) -> None:
    out = tmp_path / "o.npy"
    out.write_text("mine")
    with pytest.raises(ValueError, match="exists and is no run's"):
        run(files, out)
    assert out.read_text() == "mine"
    (tmp_path / "p.npy.run").mkdir()
    (tmp_path / "p.npy.run" / "manifest.json").write_text('{"format": "another"}')
    with pytest.raises(ValueError, match="is no manifest of this version"):
        run(files, tmp_path / "p.npy")


def test_a_full_disk_is_found_before_any_work(files, tmp_path: Path, monkeypatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"cannot be written \(No space.*make room"):
        run(files, tmp_path / "o.npy", progress=stop_after(1))
    assert not (tmp_path / "o.npy.run").exists()


def test_cut_and_foreign_files(files, tmp_path: Path) -> None:
    data = files[2].read_bytes()
    for bad, match in [
        (data[:-3], "the file is cut"),
        (data + b"x", "the file is cut"),
        (b"no array at all", "is no .npy file"),
    ]:
        files[2].write_bytes(bad)
        with pytest.raises(ValueError, match=match) as caught:
            run(files, tmp_path / "o.npy")
        assert "\n" not in str(caught.value)
    np.save(files[2], np.asfortranarray(np.ones((100, 4), "f4")))
    with pytest.raises(ValueError, match="columns"):
        run(files, tmp_path / "o.npy")
    with pytest.raises(OSError, match="absent"):
        run([tmp_path / "absent.npy", *files[1:]], tmp_path / "o.npy")
    assert not (tmp_path / "o.npy").exists()
    assert not (tmp_path / "o.npy.run").exists()


def test_two_runs_at_once(files, tmp_path: Path) -> None:
    out = tmp_path / "o.npy"

    def second(*_: int) -> None:
        with pytest.raises(ValueError, match="another run"):
            run(files, out)
        raise Stop

    with pytest.raises(Stop):
        run(files, out, progress=second)


def test_zarr(files, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    stores = []
    for path in files:
        host = np.load(path)
        array = zarr.create_array(
            str(path.with_suffix(".zarr")), shape=host.shape, dtype=host.dtype, chunks=(30, 4)
        )
        array[:] = host
        stores.append(path.with_suffix(".zarr"))
    want = whole(files)
    out = run(stores, tmp_path / "o.zarr")
    assert (out.value[:] == want.value).all()
    opened = [zarr.open_array(str(store), mode="r") for store in stores]
    assert (run(opened, tmp_path / "p.npy").value == want.value).all()


@pytest.mark.parametrize("kind", ["memory", "zarr"])
@pytest.mark.parametrize("row", [0, 1003, 2999])
def test_an_edit_of_any_row_is_another_input(tmp_path: Path, kind: str, row: int) -> None:
    """So no resumed run hands out an output whose bound is that of other numbers."""
    q, k, v = np.random.default_rng(0).standard_normal((3, 3000, 3)).astype("f4")
    if kind == "zarr":
        zarr = pytest.importorskip("zarr")
        store = zarr.create_array(
            str(tmp_path / "v.zarr"), shape=v.shape, dtype="f4", chunks=(500, 3)
        )
        store[:] = v
        v = store
    distributed.attention(q, k, v, METHOD, out=tmp_path / "o.npy", shard=1000)
    v[row] = np.full(3, 50, "f4")
    with pytest.raises(ValueError, match="belongs to a run with"):
        distributed.attention(q, k, v, METHOD, out=tmp_path / "o.npy", shard=1000)


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
@pytest.mark.parametrize("change", ["value", "rows", "gone"])
def test_bounds_are_not_handed_out_with_another_output(
    files, tmp_path: Path, suffix: str, change: str
) -> None:
    if suffix == ".zarr":
        zarr = pytest.importorskip("zarr")
    out = tmp_path / f"o{suffix}"
    done = run(files, out)
    assert (run(files, out).value[:] == done.value[:]).all()
    time.sleep(0.02)  # the clock of a file system has steps of some milliseconds
    if change == "gone":
        shutil.move(out, tmp_path / "elsewhere")
    elif change == "rows":
        np.load(tmp_path / f"o{suffix}.run" / "rows.npy", mmap_mode="r+")[3] = 0
    elif suffix == ".zarr":
        zarr.open_array(str(out), mode="r+")[50, 1] = 7
    else:
        np.load(out, mmap_mode="r+")[50, 1] = 7
    with pytest.raises(ValueError, match="is not what its run wrote"):
        run(files, out)
