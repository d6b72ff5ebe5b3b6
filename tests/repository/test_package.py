"""Wheel and sdist, built and run without the repository.

The wheel is unpacked, as an installer does with a pure Python wheel, and stands before the
repository on the path of a fresh interpreter that starts in another folder.
"""

import os
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

pytest.importorskip("hatchling")
pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build both in a folder of their own."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """Return the folder that the wheel is unpacked into."""
    (archive,) = built.glob("*.whl")
    place = built / "site"
    zipfile.ZipFile(archive).extractall(place)  # noqa: S202 - an archive of our own
    return place


def metadata(wheel: Path) -> Message:
    (folder,) = wheel.glob("*.dist-info")
    return Parser().parsestr((folder / "METADATA").read_text(encoding="utf-8"))


def run(wheel: Path, *command: str) -> str:
    """Run Python on the unpacked wheel, from outside the repository."""
    paths = {"PYTHONPATH": str(wheel), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=wheel.parent,
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_computes_and_certifies(wheel: Path) -> None:
    code = (
        "import approxattn as aa, numpy as np\n"
        "from approxattn.data import minilm_heads\n"
        "h = minilm_heads()\n"
        "q, k, v = h.q[0, 0], h.k[0, 0], h.v[0, 0]\n"
        "out = aa.attention(q, k, v, aa.Exact())\n"
        "print(aa.__file__, bool(np.all(np.isfinite(out.certificate.rows))))"
    )
    place, finite = run(wheel, "-c", code).split()
    assert Path(place).is_relative_to(wheel)
    assert finite == "True"


def test_the_commands_of_the_wheel_start(wheel: Path) -> None:
    (folder,) = wheel.glob("*.dist-info")
    entries = (folder / "entry_points.txt").read_text(encoding="utf-8")
    for name in ("approxattn", "proofs_check"):
        assert f"{name} = {name}.__main__:main" in entries
        assert name in run(wheel, "-m", name, "--help")
    assert "ours.tanh" in run(wheel, "-m", "proofs_check", "list")


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    given = metadata(wheel)
    assert given["License-Expression"] == "BSD-3-Clause AND Apache-2.0"
    assert (wheel / "approxattn" / "py.typed").is_file()
    (folder,) = wheel.glob("*.dist-info")
    licences = {path.name for path in (folder / "licenses").rglob("*") if path.is_file()}
    assert licences == {"LICENSE", "LICENSE-APACHE-2.0.txt", "NOTICE"}


def test_citation_and_package_agree(wheel: Path) -> None:
    given, citation = metadata(wheel), (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'version: "{given["Version"]}"' in citation
    assert f"license: [{', '.join(given['License-Expression'].split(' AND '))}]" in citation


def test_the_sdist_holds_what_its_commands_need(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {"pyproject.toml", "run.sh", "README.md", "CHANGELOG.md", "LICENSE"} <= names
    assert {"tests/conftest.py", "docs/conf.py", "benchmarks/forward.py"} <= names
    assert not any(name.startswith((".ci", ".venv", "report/")) for name in names)
