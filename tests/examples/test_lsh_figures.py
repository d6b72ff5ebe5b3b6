"""The figures of docs/lsh.md: the script runs, its numbers are those of the theory, and the
pictures kept are its own.
"""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("collision.svg", "weights.png", "angle-error.svg", "bert-lsh-cost.svg")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "lsh_figures", ROOT / "examples" / "lsh_figures.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_weights_cross_where_the_figure_says(script: ModuleType) -> None:
    for x in script.CROSSINGS:
        assert 1 - math.acos(x) / math.pi == pytest.approx(math.exp(x - 1), abs=1e-6)
        below, above = (
            (1 - math.acos(y) / math.pi) - math.exp(y - 1) for y in (x - 1e-3, x + 1e-3)
        )
        assert below * above < 0


def test_costs_are_those_of_the_closed_forms(script: ModuleType) -> None:
    """Hashing 2 K L / n of Q K^T, and a quarter of the pairs for two bits on Gaussian data."""
    for n in (4, 64, 256):
        found = script.cost(n, 64, 0)
        assert found["reported: hashing"] == 4 / n
        assert found["exact attention"] > 2
        assert found["everything, colliding pairs only"] <= found["and everything else, dense"]
    collided = found["and scores of colliding pairs"] - found["reported: hashing"]
    assert collided == pytest.approx(0.253, abs=0.03)


def test_error_falls_with_hashes_and_not_with_tokens(script: ModuleType) -> None:
    few, many = (script.errors(128, m, 8, 0.0, 0, 4)[0] for m in (8, 128))
    assert 3 < few / many < 5.2  # 4 = sqrt(128/8)
    short, long = (script.errors(n, 32, 8, 1.0, 0, 4)[1] for n in (64, 1024))
    assert long > 0.5 * short  # 1/sqrt(n) would leave a quarter


def test_script_draws_everything(script: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    script.main([str(tmp_path), "--largest", "64", "--repeats", "1"])
    for name in NAMES:
        assert 5_000 < (tmp_path / name).stat().st_size < 150_000
    found = json.loads((tmp_path / "lsh-figures.json").read_text())
    rms = found["root mean square error of the weights"]
    assert rms["YOSO-E"] == 0
    assert rms["m = 8"] > 1.3 * rms["m = 32"] > 1.3**2 * rms["m = 128"]


def test_pictures_of_the_page_are_there_and_small() -> None:
    page = (ROOT / "docs" / "lsh.md").read_text()
    for name in NAMES:
        picture = ROOT / "docs" / "results" / "lsh" / name
        assert f"results/lsh/{name}" in page
        assert picture.stat().st_size < 150_000
    found = json.loads((ROOT / "docs" / "results" / "lsh" / "lsh-figures.json").read_text())
    slopes = [found["errors"][f"slope, n = {n}"] for n in (64, 256, 1024)]
    assert np.allclose(slopes, -0.5, atol=0.06)
