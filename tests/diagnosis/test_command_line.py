"""`approxattn diagnose FILE`: the three formats, the page, and what it says of files that
are none.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from approxattn import Nystrom
from approxattn.__main__ import main
from approxattn._arrays import HostArray
from approxattn.diagnosis.command import chosen
from approxattn.diagnosis.cost_drawing import BOTTOM, LEFT, RIGHT, TOP
from approxattn.diagnosis.files import read_qkv
from approxattn.diagnosis.regime import diagnose

ROOT = Path(__file__).parents[2]


def arrays(shape: tuple[int, ...] = (2, 24, 4)) -> HostArray:
    return np.random.default_rng(0).uniform(-1, 1, (3, *shape)).astype(np.float32)


def write_safetensors(path: Path, tensors: dict[str, tuple[str, HostArray]]) -> Path:
    """The format as its authors describe it: header length, JSON header, bytes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    blob = b""
    for name, (kind, x) in tensors.items():
        header[name] = {
            "dtype": kind,
            "shape": list(x.shape),
            "data_offsets": [len(blob), len(blob) + x.nbytes],
        }
        blob += x.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + blob)
    return path


def bfloat16(x: HostArray) -> HostArray:
    return np.asarray((x.view(np.uint32) >> 16).astype(np.uint16))


def test_the_three_formats(tmp_path: Path) -> None:
    x = arrays()
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "a.npz", Q=x[0], k=x[1], v=x[2], other=np.ones(3))
    write_safetensors(
        tmp_path / "a.safetensors", {n: ("F32", y) for n, y in zip("qkv", x, strict=True)}
    )
    for name in ("a.npy", "a.npz", "a.safetensors"):
        for found, wanted in zip(read_qkv(tmp_path / name), x, strict=True):
            np.testing.assert_array_equal(found, wanted)
    short = write_safetensors(
        tmp_path / "b.safetensors",
        {n: ("BF16", bfloat16(y)) for n, y in zip("qkv", x, strict=True)},
    )
    np.testing.assert_allclose(np.stack(read_qkv(short)), x, rtol=2.0**-7)


def test_diagnosis_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", arrays())
    assert main(["diagnose", str(tmp_path / "a.npy"), "--html", str(tmp_path / "p.html")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Attention with items 2, n_q 24")
    assert "Nystrom(landmarks=" in printed
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    # nothing is loaded from elsewhere
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    # Our own page.
    drawing = ET.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])  # noqa: S314
    dots = drawing.findall("{http://www.w3.org/2000/svg}g[@class='dot']")
    assert len(dots) == len(
        re.findall(
            r"^ +[\d.]+ .*  (?:Clustered|FittedLinformer|FittedPolynomial|Linformer|Nystrom"
            r"|Performer|Polynomial)\(",
            printed,
            re.MULTILINE,
        )
    )
    places = [re.findall(r"[\d.]+", dot.get("transform", "")) for dot in dots]
    assert all(LEFT <= float(x) <= RIGHT and TOP <= float(y) <= BOTTOM for x, y in places)


def test_quick_and_causal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", arrays())
    page = str(tmp_path / "p.html")
    assert (
        main(
            [
                "diagnose",
                str(tmp_path / "a.npy"),
                "--quick",
                "--causal",
                "--scale",
                "0.1",
                "--html",
                page,
            ]
        )
        == 0
    )
    assert "methods at equal cost" not in capsys.readouterr().out
    assert "<svg" not in Path(page).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", None, "No such file"),
        ("a.txt", b"", r"must be \.npz, \.npy or \.safetensors"),
        ("a.safetensors", b"\0" * 4, "no readable header"),
        ("a.npy", "stack", r"shape \(2, 3\).*must be \(3, \.\.\., n, d\)"),
        ("a.npz", "unnamed", "holds x, but no q, k, v"),
        ("a.safetensors", "cut", "the file is cut short"),
        ("a.safetensors", "kind", "has dtype F8_E4M3: known are"),
        ("a.npz", "shapes", "differ in the last axis"),
    ],
)
def test_bad_files(
    name: str,
    content: bytes | str | None,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, x = tmp_path / name, arrays()
    match content:
        case bytes():
            path.write_bytes(content)
        case "stack":
            np.save(path, np.ones((2, 3)))
        case "unnamed":
            np.savez(path, x=x)
        case "shapes":
            np.savez(path, q=x[0], k=x[1][..., :2], v=x[2])
        case "cut":
            write_safetensors(path, {n: ("F32", y) for n, y in zip("qkv", x, strict=True)})
            path.write_bytes(path.read_bytes()[:-8])
        case "kind":
            write_safetensors(path, {n: ("F8_E4M3", y) for n, y in zip("qkv", x, strict=True)})
    assert main(["diagnose", str(path)]) == 2
    assert re.search(message, capsys.readouterr().err)


# --- files that are none --------------------------------------------------------------------------


def written(folder: Path, suffix: str) -> Path:
    """A good file of the format."""
    path, x = folder / f"a{suffix}", arrays((6, 4))
    if suffix == ".npy":
        np.save(path, x)
    elif suffix == ".npz":
        np.savez(path, q=x[0], k=x[1], v=x[2])
    else:
        write_safetensors(path, {n: ("F32", y) for n, y in zip("qkv", x, strict=True)})
    return path


def _cut(share: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(share * len(data))]


def _flipped(data: bytes) -> bytes:
    """All bits of the second quarter turned over."""
    a, b = len(data) // 4, len(data) // 2
    return data[:a] + bytes(255 - x for x in data[a:b]) + data[b:]


def _safetensors(header: object) -> Callable[[bytes], bytes]:
    text = json.dumps(header).encode()
    return lambda _: len(text).to_bytes(8, "little") + text + bytes(64)


def _npy(header: str) -> Callable[[bytes], bytes]:
    text = header.encode()
    return lambda _: b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def _zip(*members: tuple[str, bytes]) -> Callable[[bytes], bytes]:
    def build(_: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in members:
                archive.writestr(name, data)
        return file.getvalue()

    return build


def _pickled(_: bytes) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([print, [1], None], dtype=object), allow_pickle=True)
    return file.getvalue()


def _saved(x: HostArray) -> bytes:
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "one byte": lambda data: data[:1],
    "cut in the header": _cut(0.1),
    "cut in the middle": _cut(0.5),
    "cut at the end": lambda data: data[:-1],
    "text": lambda _: b"no array at all, but a line of text\n" * 9,
    "zeros": lambda _: bytes(500),
    "a program": lambda _: Path(sys.executable).read_bytes()[:9999],
    "bits turned over": _flipped,
    "pickled objects": _pickled,
    "of eight terabytes": _npy("{'descr':'<f8','fortran_order':False,'shape':(3,9,10**12)}"),
    "no dictionary": _npy("[1, 2]"),
    "no Python": _npy("{'descr': ("),
    "a negative shape": _npy("{'descr':'<f8','fortran_order':False,'shape':(3,-9,4)}"),
    "deep": _npy("(" * 9999),
    "words": lambda _: _saved(np.full((3, 4, 4), "word")),
    "complex numbers": lambda _: _saved(np.full((3, 4, 4), 1j)),
    "dates": lambda _: _saved(np.zeros((3, 4, 4), "datetime64[s]")),
    "records": lambda _: _saved(np.zeros((3, 4, 4), [("x", "<f8")])),
    "not a number": lambda _: _saved(np.full((3, 4, 4), np.nan)),
    "an empty archive": _zip(),
    "members that are no arrays": _zip(("q", b"x"), ("k", b"x"), ("v", b"x")),
    "members that are cut": _zip(*((f"{n}.npy", _saved(np.ones((4, 4)))[:-9]) for n in "qkv")),
    "members of words": _zip(*((f"{n}.npy", _saved(np.full((4, 4), "w"))) for n in "qkv")),
    "members of no axis": _zip(*((f"{n}.npy", _saved(np.array(1.0))) for n in "qkv")),
    "header a list": _safetensors([1, 2]),
    "header of words": _safetensors({"q": "x", "k": "x", "v": "x"}),
    "no offsets": _safetensors({n: {"dtype": "F32", "shape": [2, 2]} for n in "qkv"}),
    "offsets of words": _safetensors(
        {n: {"dtype": "F32", "shape": [2, 2], "data_offsets": ["a", "b"]} for n in "qkv"}
    ),
    "shape of words": _safetensors(
        {n: {"dtype": "F32", "shape": "2x2", "data_offsets": [0, 16]} for n in "qkv"}
    ),
    "axes below zero": _safetensors(
        {n: {"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]} for n in "qkv"}
    ),
    "offsets backwards": _safetensors(
        {n: {"dtype": "F32", "shape": [2, 2], "data_offsets": [16, 0]} for n in "qkv"}
    ),
    "a deep header": lambda _: (9999).to_bytes(8, "little") + b"[" * 9999,
}


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_none_is_one_line_and_status_2(
    damage: str, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every kind of damage under every name; the line names the file, or the array in it."""
    path = written(tmp_path, suffix)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    if damage == "bits turned over" and suffix != ".npz":
        return  # neither format could know: these are numbers, if strange ones
    assert main(["diagnose", str(path), "--quick"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("approxattn: ")
    assert str(path) in line or re.search(r"\b[qkv]\b", line)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_a_folder_or_nothing_in_place_of_a_file(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    for name in ("folder", "nothing"):
        assert main(["diagnose", str(tmp_path / f"{name}{suffix}")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert name in line


def test_a_folder_is_called_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(tmp_path)]) == 2
    assert f"{tmp_path} is a folder: it must be .npz" in capsys.readouterr().err


# --- the page, and the terminal -------------------------------------------------------------------


def test_a_page_is_written_whole_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, page = str(written(tmp_path, ".npy")), tmp_path / "page.html"
    page.write_text("the old one")
    (tmp_path / "folder").mkdir()
    for place, complaint in (
        (tmp_path / "folder", "Is a directory"),
        (page / "p.html", "Not a directory"),
        (tmp_path / "none" / "p.html", "No such file"),
        (Path("/dev/full"), "No space left"),
    ):
        assert main(["diagnose", data, "--quick", "--html", str(place)]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        (line,) = printed.err.splitlines()
        assert complaint in line
        assert str(place) in line
    assert page.read_text() == "the old one"
    assert main(["diagnose", data, "--quick", "--html", str(page)]) == 0
    assert page.read_text(encoding="utf-8").startswith("<!")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npy", "folder", "page.html"]


def test_the_place_of_a_page_is_looked_at_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr("approxattn.diagnosis.command.diagnose", lambda *_, **__: done.append("it"))
    assert main(["diagnose", str(written(tmp_path, ".npy")), "--html", str(tmp_path)]) == 2
    assert not done


ENCODINGS: dict[str, dict[str, str]] = {
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["a.npy", "é≤.npy", "é≤.txt"])
def test_any_encoding_of_the_terminal_will_do(encoding: str, name: str, tmp_path: Path) -> None:
    path = written(tmp_path, ".npy").rename(tmp_path / name)
    page = tmp_path / "≥.html"
    arguments: list[Any] = ["diagnose", os.fsencode(path), "--quick", "--html", os.fsencode(page)]
    done = subprocess.run(
        [sys.executable, "-m", "approxattn", *arguments],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **ENCODINGS[encoding]},
    )
    assert done.returncode == (2 if name.endswith(".txt") else 0), done.stderr
    assert b"Traceback" not in done.stderr
    assert page.exists() == name.endswith(".npy")


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "approxattn", "diagnose", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--html" in done.stdout


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    """Three layers of four heads, of which pairs share keys and values."""
    q, k, v = (arrays((3, heads, 24, 4)) for heads in (4, 2, 2))  # the first axis: q, k, v
    np.savez(tmp_path / "h.npz", q=q[0], k=k[1], v=v[2])
    return tmp_path / "h.npz"


def test_one_layer_and_head(layers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = np.load(layers)
    q, k, v = chosen((stored["q"], stored["k"], stored["v"]), 1, 3)
    np.testing.assert_array_equal(q, stored["q"][1, 3])
    np.testing.assert_array_equal(k, stored["k"][1, 1])  # heads 2 and 3 share the second
    np.testing.assert_array_equal(v, stored["v"][1, 1])
    assert main(["diagnose", str(layers), "--layer", "1", "--head", "3", "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shape"] == {"items": 1, "n_q": 24, "n_k": 24, "d": 4, "dv": 4}
    assert found["largest_score"] == pytest.approx(np.max(np.abs(q @ k.T)) / 2)


def test_methods_and_budgets(layers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picked = ["--head", "0", "--methods", "Nystrom,Performer", "--budget", "0.4,0.8"]
    assert main(["diagnose", str(layers), "--layer", "2", *picked, "--json"]) == 0
    trials = json.loads(capsys.readouterr().out)["trials"]
    names = {t["name"].partition("(")[0] for t in trials if t["method"] is not None}
    assert names == {"Nystrom", "Performer"}
    costs = [t["cost"] for t in trials if t["method"] is not None]
    assert max(costs) <= 0.8
    assert any(cost > 0.4 for cost in costs)
    assert {t["name"] for t in trials if t["method"] is None} >= {"mean of v", "zero output"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layer", "3"], r"layer\(=3\) must lie in 0\.\.2"),
        (["--head=-1"], r"head\(=-1\) must lie in 0\.\.3"),
        (["--methods", "Nystrom,Exactly"], r"methods\(='Exactly'\).*Clustered"),
        (["--budget", "half"], r"budget\(=half\) must be numbers"),
        (["--budget=-0.5"], r"budgets\(=-0\.5\) must be"),
        (["--quick", "--budget", "0.5"], "leave one out"),
        (["--quick", "--seed", "-1"], r"seed\(=-1\)"),
    ],
)
def test_what_cannot_be_picked(
    arguments: list[str], said: str, layers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", str(layers), *arguments]) == 2
    told = capsys.readouterr().err
    assert re.search(said, told)
    assert told.count("\n") == 1


def test_a_layer_of_arrays_without_layers() -> None:
    with pytest.raises(ValueError, match=r"needs arrays \(layers, heads, n, d\)"):
        chosen(tuple(arrays((2, 24, 4))), 0, None)
    with pytest.raises(ValueError, match="needs a leading axis"):
        chosen(tuple(arrays((24, 4))), None, 0)


def test_methods_are_refused_where_they_mean_nothing() -> None:
    q, k, v = arrays((40, 4))
    found = diagnose(q, k, v, compare_methods=True, methods=["Nystrom"], budgets=[0.5])
    assert {type(t.method) for t in found.trials if t.method is not None} == {Nystrom}
    with pytest.raises(ValueError, match="compare_methods=True too"):
        diagnose(q, k, v, methods=["Nystrom"])
    with pytest.raises(TypeError, match="must be names of methods"):
        diagnose(q, k, v, compare_methods=True, methods="Nystrom")
    with pytest.raises(TypeError, match="must be shares of the cost"):
        diagnose(q, k, v, compare_methods=True, budgets=0.5)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_option(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for word in ("diagnose", "attend", "doctor", "completion"):
        assert word in text
    for option in ("methods", "scheduler", "json"):
        assert re.search(rf"(--|-l ){option}\b", text)


def test_completion_works_in_bash(capsys: pytest.CaptureFixture[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    ask = "COMP_WORDS=(approxattn {}); COMP_CWORD={}; _approxattn; echo ${{COMPREPLY[@]}}\n"
    script += ask.format("diagnose --me", 2) + ask.format("d", 1)
    done = subprocess.run([bash], input=script, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--methods", "diagnose", "doctor"]


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "diagnose" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--no-color", "completion", "fish"], ["doctor", "--no-color"]])
def test_no_color_is_taken_anywhere(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    out, errors = capsys.readouterr()
    assert "\x1b" not in out
    assert not errors
