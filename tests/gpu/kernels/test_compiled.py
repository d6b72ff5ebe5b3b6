"""Every kernel compiled for the GPUs that it is made for: what it takes of one, and that nothing
spills.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import approxattn._arrays.cuda
from approxattn.monomials.device import tensor_cores as cores

OURS = Path(approxattn._arrays.cuda.__file__).parent
ARCHITECTURES = "sm_80", "sm_90"


def tensor_cores(d: int, degree: int, m: int, passes: int) -> dict[str, str]:
    """Return the constants of a setting."""
    found = {"REAL": "float"} | cores.constants(d, degree, m, passes, 227 * 1024)
    return {name: str(x) for name, x in found.items()}


# source: (constants, the most registers of a kernel)
SETTINGS = [
    ("monomials", {"REAL": "float", "DEGREE": "2"}, 64),
    ("hashing", {"REAL": "float"}, 80),
    ("tensor_cores", tensor_cores(64, 2, 65, 3), 255),
]
MORE = [
    ("monomials", {"REAL": "double", "DEGREE": "4"}, 96),
    ("tensor_cores", tensor_cores(64, 2, 65, 1), 255),
    ("tensor_cores", tensor_cores(16, 4, 17, 3), 255),
    ("tensor_cores", tensor_cores(80, 2, 81, 3), 255),
    ("tensor_cores", tensor_cores(64, 2, 136, 3), 255),
    ("tensor_cores", tensor_cores(128, 2, 136, 1), 255),
    ("tensor_cores", tensor_cores(128, 2, 136, 3), 255),
    ("tensor_cores", tensor_cores(8, 6, 9, 1), 255),
    ("tensor_cores", tensor_cores(3, 2, 4, 1), 255),
]
CASES = [*SETTINGS, *(pytest.param(*more, marks=pytest.mark.long) for more in MORE)]


NVCC = shutil.which("nvcc") or ""


@pytest.mark.skipif(not NVCC, reason="there is no nvcc to compile kernels with")
@pytest.mark.parametrize(("source", "constants", "most"), CASES)
def test_nothing_spills(source: str, constants: dict[str, str], most: int, tmp_path: Path) -> None:
    path = OURS / f"{source}.cu"
    flags = ["-std=c++14", "-fatbin", "-Xptxas", "-v", "-o", str(tmp_path / "out.fatbin")]
    for name in ARCHITECTURES:
        flags += ["-gencode", f"arch={name.replace('sm', 'compute')},code={name}"]
    defines = [f"-D{name}={value}" for name, value in constants.items()]
    # its temporary files have names that two runs may share
    own = os.environ | {"TMPDIR": str(tmp_path)}
    command = [NVCC, *flags, *defines, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=own)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, done.stderr
    kernels = re.findall(r"__global__[^;{]*?(aa_\w+)\(", path.read_text(encoding="utf-8"))
    names = re.findall(r"Compiling entry function '(\w+)' for '(\w+)'", done.stderr)
    assert sorted(names) == sorted((k, a) for k in kernels for a in ARCHITECTURES), done.stderr
    registers = [int(x) for x in re.findall(r"Used (\d+) registers", done.stderr)]
    spills = re.findall(r"(\d+) bytes spill", done.stderr)
    assert len(registers) == len(names)
    assert len(spills) == 2 * len(names)
    report = dict(zip(names, registers, strict=True))
    assert set(spills) == {"0"}, done.stderr
    assert max(registers) <= most, report


def nvrtc() -> ctypes.CDLL | None:
    """Return the run-time compiler, which users' CuPy calls: as a package, or of a toolkit."""
    pattern = "nvidia/*/lib/libnvrtc.so*"
    packaged = [path for folder in sys.path for path in Path(folder).glob(pattern)]
    for name in (*map(str, packaged), "libnvrtc.so.13", "libnvrtc.so.12"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


NVRTC = nvrtc()


@pytest.mark.skipif(NVRTC is None, reason="there is no libnvrtc to compile kernels with")
@pytest.mark.parametrize("architecture", ["compute_80", "compute_90"])
@pytest.mark.parametrize(("source", "constants", "most"), SETTINGS)
def test_the_run_time_compiler_takes_them(
    source: str, constants: dict[str, str], most: int, architecture: str
) -> None:
    del most
    assert NVRTC is not None
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    code = (OURS / f"{source}.cu").read_bytes()
    assert NVRTC.nvrtcCreateProgram(ctypes.byref(program), code, b"k.cu", 0, None, None) == 0
    options = [f"-arch={architecture}", *(f"-D{name}={x}" for name, x in constants.items())]
    given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    failed = NVRTC.nvrtcCompileProgram(program, len(options), given)
    NVRTC.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    NVRTC.nvrtcGetProgramLog(program, log)
    NVRTC.nvrtcDestroyProgram(ctypes.byref(program))
    assert not failed, log.value.decode()
    assert log.value == b""


def test_sources_include_nothing() -> None:
    sources = list(OURS.glob("*.cu"))
    assert {path.stem for path in sources} == {source for source, *_ in SETTINGS}
    for path in sources:
        assert "#include" not in path.read_text(encoding="utf-8")
