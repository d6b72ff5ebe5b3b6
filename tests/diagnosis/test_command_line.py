"""`approxattn diagnose FILE`: the three formats, the page, and what it says of files that
are none.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from approxattn.__main__ import main
from approxattn._arrays import HostArray
from approxattn.diagnosis.files import read_qkv


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
    dots = drawing.findall("{http://www.w3.org/2000/svg}circle")
    assert len(dots) == len(
        re.findall(
            r"^    (?:Clustered|FittedLinformer|FittedPolynomial|Linformer|Nystrom|Performer"
            r"|Polynomial)\(",
            printed,
            re.MULTILINE,
        )
    )
    assert all(
        60 <= float(dot.get("cx", 0)) <= 660 and 60 <= float(dot.get("cy", 0)) <= 360
        for dot in dots
    )


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


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "approxattn", "diagnose", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--html" in done.stdout
