"""The study of a GPU through CuPy's interface: nothing is converted to NumPy by accident, and sums
in TF32 are those of the kernels on tensor cores.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_cupy import ndarray

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import gpu
from gpu_study import items, records

pytestmark = pytest.mark.long  # every kind of item, through kernels that g++ compiles


class Random:
    """What the study uses of CuPy's generator."""

    def __init__(self, seed: int) -> None:
        self._host = np.random.default_rng(seed)

    def random(self, size: int, dtype: Any) -> ndarray:
        return ndarray(self._host.random(size, dtype=dtype))


@pytest.fixture
def whole(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The fake CuPy with what only the study asks for."""
    core, linalg = ModuleType("cupy._core"), ModuleType("cupy._core._routines_linalg")
    kind = {"now": 0}
    functions: dict[str, Any] = {
        "COMPUTE_TYPE_TF32": 7,
        "get_compute_type": lambda _: kind["now"],
        "set_compute_type": lambda _, wanted: kind.update(now=wanted),
    }
    vars(linalg).update(functions)
    vars(core).update(_routines_linalg=linalg)
    monkeypatch.setitem(sys.modules, "cupy._core", core)
    monkeypatch.setitem(sys.modules, "cupy._core._routines_linalg", linalg)
    pool = SimpleNamespace(free_all_blocks=lambda: None)
    vars(kernels).update(
        random=SimpleNamespace(default_rng=Random), get_default_memory_pool=lambda: pool
    )
    properties = SimpleNamespace(getDeviceProperties=lambda _: {"name": b"Fake GPU"})
    vars(kernels.cuda).update(runtime=properties)
    return kernels


def test_every_item_runs(
    whole: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert whole
    small = {item.name: item for item in items.items(items.DRY)}  # the last of each kind
    methods = {i.arguments.get("method"): i for i in items.items(items.DRY)}
    tf32 = [i for i in items.items(items.DRY) if i.arguments.get("tf32")][:1]
    wanted = [*small.values(), *methods.values(), *tf32]
    monkeypatch.setattr(gpu, "items", lambda _: wanted)
    assert gpu.main(["--out", str(tmp_path), "--budget", "1000"]) == 0
    found = records.read(next(tmp_path.glob("fake-gpu-*.jsonl")))
    assert not [r for r in found if "error" in r["result"]]
    judged = [r for r in found if r["name"] == "accuracy"]
    assert all(r["result"]["outside"] == 0 and r["result"]["identical"] for r in judged)
    (rounded,) = [r["result"]["relative"] for r in judged if r["arguments"].get("tf32")]
    assert 1e-6 < rounded < 1e-2
