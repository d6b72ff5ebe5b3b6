"""The example with Dask: a few rows of its output are within their bounds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "attend_with_dask.py"


def test_it_runs(tmp_path: Path) -> None:
    for name in ("dask", "distributed", "zarr"):
        pytest.importorskip(name)
    words = ["--tokens", "140000", "--workers", "2", "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *words], capture_output=True, text=True, check=True
    )
    assert "dashboard: http://" in done.stdout
    ratio = re.search(r"errors of at most ([0-9.e-]+) of their bounds", done.stdout)
    assert ratio
    assert 0 < float(ratio[1]) < 1
