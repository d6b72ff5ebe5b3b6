"""Full disks, cut and foreign files, shapes that do not fit, through the command: one clear line,
and no output that is half valid.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from approxattn.__main__ import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate("qkv"):
        tokens = np.random.default_rng(i).standard_normal((4000, 8)).astype("f4") / 2
        np.save(tmp_path / f"{name}.npy", tokens)
    return tmp_path


def words(folder: Path, out: Path) -> list[str]:
    files = [part for n in "qkv" for part in (f"--{n}", str(folder / f"{n}.npy"))]
    method = ["--method", "Polynomial(degree=2)", "--shard", "500"]
    return ["attend", *files, *method, "--out", str(out)]


def refused(folder: Path, capsys, *words_of_it: str) -> None:
    out = folder / "o.npy"
    assert main(words(folder, out)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert "Traceback" not in said
    for word in words_of_it:
        assert word in said
    assert not out.exists()
    assert not out.with_name("o.npy.run").exists()


def fortran(x):
    return np.asfortranarray(x)


def of_objects(x):
    return x.astype(object)


def of_text(x):
    return x.astype(str)


@pytest.mark.parametrize("name", ["q", "k", "v"])
@pytest.mark.parametrize(
    ("foreign", "word"),
    [
        (fortran, "columns one after the other"),
        (of_objects, "Python objects"),
        (of_text, "dtype"),
        (lambda x: x[:, None], "differ"),
        (lambda x: x[:-7], "4000"),
        (lambda x: x[0], "needs (..., tokens, features)"),
        (lambda x: x.astype("f8"), "dtype"),
    ],
)
def test_foreign_arrays(folder: Path, capsys, name: str, foreign, word: str) -> None:
    path = folder / f"{name}.npy"
    x = np.load(path)
    if name == "q" and word == "4000":
        pytest.skip("fewer queries than keys are fine")
    np.save(path, foreign(x), allow_pickle=True)
    refused(folder, capsys, word)


@pytest.mark.parametrize("width", ["q", "k"])
def test_widths_that_differ(folder: Path, capsys, width: str) -> None:
    np.save(folder / f"{width}.npy", np.zeros((4000, 7), "f4"))
    refused(folder, capsys, "8", "7")


@pytest.mark.parametrize("left", [0, 5, 60, 1000, -1])
def test_cut_files(folder: Path, capsys, left: int) -> None:
    data = (folder / "k.npy").read_bytes()
    (folder / "k.npy").write_bytes(data[:left])
    refused(folder, capsys, "k:", "k.npy")


def test_other_magic(folder: Path, capsys) -> None:
    data = (folder / "v.npy").read_bytes()
    (folder / "v.npy").write_bytes(b"PK\x03\x04\x00\x00" + data[6:])
    refused(folder, capsys, "v:", "no .npy file")


def test_versions_to_come(folder: Path, capsys) -> None:
    data = bytearray((folder / "v.npy").read_bytes())
    data[6] = 9
    (folder / "v.npy").write_bytes(bytes(data))
    refused(folder, capsys, "v:", "no .npy file")


def test_files_that_become_shorter(folder: Path, capsys, monkeypatch) -> None:
    """After the headers were read, before the tokens are."""
    monkeypatch.setattr(
        "approxattn.distributed.sources.NpyFile.fingerprint", lambda self: self.path
    )
    whole = (folder / "k.npy").read_bytes()
    from approxattn.distributed import journal

    begin = journal.Journal.begin

    def cut(self):
        found = begin(self)
        (folder / "k.npy").write_bytes(whole[: len(whole) // 2])
        return found

    monkeypatch.setattr(journal.Journal, "begin", cut)
    assert main(words(folder, folder / "o.npy")) == 2
    said = capsys.readouterr().err
    assert "has become shorter" in said.splitlines()[-1]
    assert not (folder / "o.npy").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", "size=300k", "none", str(disk)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("only root may make a small disk")
    try:
        yield disk
    finally:
        subprocess.run([shutil.which("umount") or "umount", str(disk)], check=True)


def test_a_disk_without_room(folder: Path, small_disk: Path, capsys) -> None:
    """128 KB of output and 32 of bounds fit; with a file of 200 KB there they do not."""
    out = small_disk / "o.npy"
    filler = small_disk / "filler"
    filler.write_bytes(bytes(200_000))
    assert main(words(folder, out)) == 2
    said = capsys.readouterr().err
    assert "cannot be written (No space left on device): make room" in said
    assert said.count("\n") == 1
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    filler.unlink()
    assert main(words(folder, out)) == 0


def test_a_disk_that_fills_up_during_the_run(
    folder: Path, small_disk: Path, capsys, monkeypatch
) -> None:
    """Records of blocks find no room: an error, no output, and the same call continues."""
    from approxattn.distributed import runs

    out, filler = small_disk / "o.npy", small_disk / "filler"
    record, seen = vars(runs)["write_text"], []

    def full(path: Path, text: str) -> None:
        seen.append(path)
        if len(seen) == 4:
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass
        record(path, text)

    monkeypatch.setattr(runs, "write_text", full)
    assert main(words(folder, out)) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "No space left" in last
    assert not out.exists()
    filler.unlink()
    assert main(words(folder, out)) == 0
    other = folder / "elsewhere.npy"
    assert main(words(folder, other)) == 0
    assert (np.load(out) == np.load(other)).all()


@pytest.mark.skipif(os.name != "posix", reason="asks for limits of files")
def test_files_that_may_not_grow(folder: Path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000)); "
        "from approxattn.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words(folder, folder / "o.npy")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "cannot be written (File too large): make room" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folder / "o.npy").exists()
    assert not (folder / "o.npy.run").exists()
