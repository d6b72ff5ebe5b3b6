"""What the outcome of a fault depends on, as a hash: a stored one holds as long as that stays.

That is all of `approxattn` and `proofs_check`, without the list of faults and without the checks;
the fault itself; and the files of its own checks, with what all checks or all tests share. So a
check that was made stronger is asked again about the faults that it is to notice, and about no
others.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

from proofs_check.faults.checks import FUNCTIONS
from proofs_check.faults.checks.suite import file_of
from proofs_check.faults.listed import FAULTS

ROOT = Path(__file__).resolve().parents[2]

CONTROL = "control"
"""Name of the run of all checks on the code as it is; with a colon and a check, of one of them."""

_HERE = Path(__file__).resolve().parent
_APART = (_HERE / "listed", _HERE / "checks")


def digest_of(name: str) -> str:
    """Return the hash for a fault, or for one check of the control."""
    found = hashlib.sha256(_packages())
    fault = FAULTS.get(name)
    found.update(repr(fault).encode())
    checks = (name.partition(":")[2],) if fault is None else fault.checks
    for path in sorted({path for check in checks for path in _files(check)}):
        found.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + _content(path))
    return found.hexdigest()


def control_names() -> tuple[str, ...]:
    """Return the names of the runs of all checks, each once."""
    return tuple(dict.fromkeys(f"{CONTROL}:{c}" for f in FAULTS.values() for c in f.checks))


def _files(check: str) -> Iterator[Path]:
    if check.startswith("tests/"):
        yield file_of(check)
        yield from (ROOT / "tests").glob("conftest.py")
        yield from (ROOT / "tests" / "support").rglob("*.py")
        return
    module = FUNCTIONS[check].partition(":")[0] if check in FUNCTIONS else "claims"
    for name in (module, "_oracles", "__init__"):
        yield _HERE / "checks" / f"{name}.py"


@functools.cache
def _packages() -> bytes:
    found = hashlib.sha256()
    for package in ("approxattn", "proofs_check"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if not any(path.is_relative_to(folder) for folder in _APART):
                found.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + _content(path))
    return found.digest()


def _content(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes() if path.is_file() else b"").digest()
