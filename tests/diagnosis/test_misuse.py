"""Whatever is wrong about a call of `approxattn`, it is said in one line, and in JSON if asked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from approxattn.__main__ import main

ATTEND = "attend --q x.npy --k x.npy --v x.npy --out o.npy --method"
CAPACITY = "capacity --n 1e4 --d 4 --method Polynomial(degree=3)"

CALLS = {
    "explain": "invalid choice: 'explain'.*--help",
    "--loud": "--loud",
    "diagnose": "required: file",
    "diagnose none.npy": r"none\.npy cannot be read \(No such file.*check the path",
    "diagnose folder.npy": r"folder\.npy cannot be read \(Is a directory",
    "diagnose text.txt": r"text\.txt ends in '\.txt': it must be \.npz",
    "diagnose empty.npz": r"empty\.npz cannot be read as \.npz",
    "diagnose x.npy --head 0": r"head\(=0\) needs a leading axis",
    "diagnose x.npy --head one": "--head: invalid int value: 'one'",
    "diagnose x.npy --rows 0": r"rows\(=0\) must be at least 1",
    "diagnose x.npy --scale nan": r"scale\(=nan\) must be a finite positive number",
    "diagnose x.npy --budget 0": r"budgets\(=0\.0\) must be",
    "diagnose x.npy --methods linformer": r"methods\(='linformer'\).*Linformer",
    "attend --q x.npy": "required: --k, --v, --method, --out",
    f"{ATTEND} Cubic()": r"method\(='Cubic\(\)'\) must be a call .* no method Cubic",
    f"{ATTEND} Polynomial(3)": "must be a call such as",
    f"{ATTEND} Polynomial(**{{'degree':3}})": "must be a call such as",
    f"{ATTEND} Polynomial(deg=3)": r"Polynomial\(deg=3\)'\): there is no deg; .* takes degree,",
    f"{ATTEND} Polynomial(degree=3,degree=4)": "there is more than one degree",
    f"{ATTEND} Nystrom()": "it lacks landmarks; Nystrom takes landmarks,",
    f"{ATTEND} {'(' * 999}": r"method\(='\({57}\.\.\.'\) must be a call",
    f"{ATTEND} Polynomial(degree=-1)": r"degree\(=-1\) must lie in",
    f"{ATTEND} Polynomial(degree=3) --workers 0": r"workers\(=0\) must be at least 1",
    f"{ATTEND} Polynomial(degree=3) --shard 0": r"shard\(=0\) must be at least 1",
    f"{ATTEND} Polynomial(degree=3) --q none.npy": r"none\.npy cannot be read",
    f"{ATTEND} Polynomial(degree=3) --out o.txt": r"out\(='o.txt'\) must end in \.npy or \.zarr",
    f"{CAPACITY} --n 1e400": "--n: 1e400 is no whole number such as",
    f"{CAPACITY} --n 1.5": "--n: 1.5 is no whole number such as",
    f"{CAPACITY} --n 2**9999": r"--n: 2\*\*9999 is no whole number",
    f"{CAPACITY} --n 0": r"n\(=0\) must be at least 1",
    f"{CAPACITY} --dtype word": r"dtype\(='word'\) must be one of real numbers",
    f"{CAPACITY} --dtype complex64": r"dtype\(='complex64'\) must be one of real numbers",
    f"{CAPACITY} --read-rate 0": r"read_rate\(=0\.0\) must be",
    f"{CAPACITY} --read-rate nan": r"read_rate\(=nan\) must be",
    f"{CAPACITY} --engine here --workers 3": r"workers\(=3\) must be 1 with engine='here'",
    "doctor now": "now",
    "completion csh": "invalid choice: 'csh'",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files of the calls lie."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones((3, 6, 4)))
    Path("folder.npy").mkdir()
    for name in ("text.txt", "empty.npz"):
        Path(name).touch()
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("call", CALLS)
def test_one_line_and_status_2(call: str, capsys: pytest.CaptureFixture[str]) -> None:
    as_json = "completion" not in call
    assert main([*call.split(), *(["--json"] if as_json else [])]) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert re.match(r"approxattn[a-z ]*: ", line)
    assert re.search(CALLS[call], line)
    if as_json:
        assert json.loads(printed.out) == {"error": line}
    assert not Path("o.npy").exists()


def test_answers_in_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ATTEND.split(), "Polynomial(degree=2)", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["record"] == "Written"
    assert found["path"] == "o.npy"
    assert (folder / "o.npy").exists()
    assert main([*CAPACITY.split(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 10**4
