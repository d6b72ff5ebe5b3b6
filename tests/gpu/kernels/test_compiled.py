"""Every kernel compiled for the GPUs that it is made for: what it takes of one, and that nothing
spills.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import approxattn._arrays.cuda

OURS = Path(approxattn._arrays.cuda.__file__).parent
ARCHITECTURES = "sm_80", "sm_90"

# source: (constants, the most registers of a kernel)
SETTINGS: list[tuple[str, dict[str, str], int]] = [
    ("monomials", {"REAL": "float", "DEGREE": "2"}, 64),
    ("monomials", {"REAL": "double", "DEGREE": "4"}, 96),
    ("hashing", {"REAL": "float"}, 80),
]


NVCC = shutil.which("nvcc") or ""


@pytest.mark.skipif(not NVCC, reason="there is no nvcc to compile kernels with")
@pytest.mark.parametrize(("source", "constants", "most"), SETTINGS)
def test_nothing_spills(source: str, constants: dict[str, str], most: int, tmp_path: Path) -> None:
    path = OURS / f"{source}.cu"
    flags = ["-std=c++14", "-fatbin", "-Xptxas", "-v", "-o", str(tmp_path / "out.fatbin")]
    for name in ARCHITECTURES:
        flags += ["-gencode", f"arch={name.replace('sm', 'compute')},code={name}"]
    defines = [f"-D{name}={value}" for name, value in constants.items()]
    done = subprocess.run(
        [NVCC, *flags, *defines, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    kernels = re.findall(r"__global__.*?(aa_\w+)\(", path.read_text(encoding="utf-8"))
    names = re.findall(r"Compiling entry function '(\w+)' for '(\w+)'", done.stderr)
    assert sorted(names) == sorted((k, a) for k in kernels for a in ARCHITECTURES)
    registers = [int(x) for x in re.findall(r"Used (\d+) registers", done.stderr)]
    spills = re.findall(r"(\d+) bytes spill", done.stderr)
    assert len(registers) == len(names)
    assert len(spills) == 2 * len(names)
    report = dict(zip(names, registers, strict=True))
    assert set(spills) == {"0"}, done.stderr
    assert max(registers) <= most, report


def test_sources_include_nothing() -> None:
    sources = list(OURS.glob("*.cu"))
    assert {path.stem for path in sources} == {source for source, *_ in SETTINGS}
    for path in sources:
        assert "#include" not in path.read_text(encoding="utf-8")
