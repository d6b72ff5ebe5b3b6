"""`approxattn attend`: from files to a file, what it says, and what it refuses in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import approxattn as aa
from approxattn import distributed
from approxattn.__main__ import main


def command(folder: Path, *more: str, method: str = "Polynomial(degree=3)") -> list[str]:
    files = [part for n in "qkv" for part in (f"--{n}", str(folder / f"{n}.npy"))]
    out = ["--out", str(folder / "o.npy"), "--shard", "20"]
    return ["attend", *files, "--method", method, *out, *more]


@pytest.fixture
def arrays(tmp_path: Path):
    found = np.random.default_rng(0).standard_normal((3, 70, 4)).astype("f4")
    for name, x in zip("qkv", found, strict=True):
        np.save(tmp_path / f"{name}.npy", x)
    return found


@pytest.mark.parametrize("causal", [False, True])
def test_the_output_is_that_of_the_call(arrays, tmp_path: Path, capsys, causal: bool) -> None:
    assert main(command(tmp_path, *["--causal"] * causal)) == 0
    said = capsys.readouterr()
    assert "within" in said.out
    assert "8 of 8 tasks" in said.err or "7 of 7 tasks" in said.err
    want = distributed.attention(*arrays, aa.Polynomial(degree=3), causal=causal, shard=20)
    assert (np.load(tmp_path / "o.npy") == want.value).all()


@pytest.mark.parametrize(
    "method",
    ["Polynomial", "Polynomial(3)", "print()", "YosoExpectation()", "Polynomial(degree=x)", "("],
)
@pytest.mark.usefixtures("arrays")
def test_methods_that_are_refused(tmp_path: Path, capsys, method: str) -> None:
    assert main(command(tmp_path, method=method)) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "o.npy").exists()


def test_other_input_is_refused(arrays, tmp_path: Path, capsys) -> None:
    assert main(command(tmp_path)) == 0
    np.save(tmp_path / "k.npy", arrays[1] + 1)
    capsys.readouterr()
    assert main(command(tmp_path)) == 2
    assert "belongs to a run with k" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "Exact()",
        "Performer(features=8)",
        "Linformer(rank=5)",
        "Linformer(rank=5, sketch='mean-pool')",
        "Nystrom(landmarks=4)",
        "Yoso(bits=2, hashes=5)",
    ],
)
def test_every_method_that_works_in_blocks(arrays, tmp_path: Path, capsys, text: str) -> None:
    method = eval(f"aa.{text}")  # noqa: S307 - one of those above
    seed = ["--seed", "3"] if method.randomised else []
    if seed:
        assert main(command(tmp_path, method=text)) == 2
        assert "pass seed=0" in capsys.readouterr().err
    assert main(command(tmp_path, *seed, method=text)) == 0
    want = distributed.attention(*arrays, method, shard=20, seed=3 if seed else None)
    assert (np.load(tmp_path / "o.npy") == want.value).all()
    if seed:
        capsys.readouterr()
        assert main(command(tmp_path, "--seed", "4", method=text)) == 2
        assert "belongs to a run with seed" in capsys.readouterr().err
