"""The examples on transformers run at a tiny size, write what they say, and their parts are right."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import array_api_compat.numpy as xp
import numpy as np
import pytest

import approxattn as aa

ROOT = Path(__file__).resolve().parent.parent


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


characters = load("train_characters")
errors = load("error_through_layers")


def test_training_runs_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = characters.main(["--setting", "tiny", "--out", str(tmp_path)])
    assert json.loads((tmp_path / "characters-tiny.json").read_text())["setting"]["name"] == "tiny"
    assert (tmp_path / "characters-tiny.svg").stat().st_size > 1000
    assert [line["method"] for line in result["summary"]] == list(characters.METHODS)
    assert "seed 1, exact" in capsys.readouterr().out
    exact = result["summary"][0]
    assert exact["difference to exact"] == 0
    first = result["runs"]["exact"][0]["held out"]
    assert first[-1]["own attention"] < first[0]["own attention"]
    assert all(np.isfinite(r["training"]).all() for runs in result["runs"].values() for r in runs)


def test_methods_start_from_the_same_weights_and_see_the_same_batches() -> None:
    setting = characters.SETTINGS["tiny"]
    runs = [characters.train(m, setting, 3, xp) for m in (aa.Exact(), aa.Polynomial(degree=12, basis="taylor"))]
    assert runs[0]["training"] == pytest.approx(runs[1]["training"], abs=1e-4)
    again = characters.train(aa.Exact(), setting, 3, xp)
    assert again["training"] == runs[0]["training"]
    assert characters.train(aa.Exact(), setting, 4, xp)["training"] != runs[0]["training"]


def test_loss_has_its_gradient() -> None:
    rng = np.random.default_rng(0)
    logits, direction, targets = (
        rng.standard_normal((2, 3, 5)),
        rng.standard_normal((2, 3, 5)),
        rng.integers(0, 5, (2, 3)),
    )

    def loss(t: float) -> float:
        it = characters.Loss(targets, xp)
        it(logits + t * direction)
        return float(it.value)

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    assert slope == pytest.approx(float(np.sum(direction * characters.Loss(targets, xp)(logits))), rel=1e-7)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert loss(0) == pytest.approx(-np.log(np.take_along_axis(p, targets[..., None], -1)).mean())


def test_adam_takes_its_first_step_of_the_given_size_and_finds_a_minimum() -> None:
    adam, x = characters.Adam(0.1), {"x": np.array([3.0, -2.0])}
    x = adam.update(x, {"x": 2 * x["x"]})
    np.testing.assert_allclose(x["x"], [2.9, -1.9])
    for _ in range(300):
        x = adam.update(x, {"x": 2 * x["x"]})
    assert np.abs(x["x"]).max() < 1e-2


def test_errors_through_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (result,) = errors.main(["--layers", "3", "--degrees", "6", "--n", "12", "--out", str(tmp_path)])
    assert (tmp_path / "error-through-layers.json").exists()
    assert "bound/measured" in capsys.readouterr().out
    for measured, local, wide in zip(
        result["measured"], result["bound, local constants"], result["bound, global constants"], strict=True
    ):
        assert 0 < measured < local < wide * (1 + 1e-6)
    for measured, bound in zip(
        result["gradient, relative: measured"], result["gradient, relative: bound"], strict=True
    ):
        assert 0 < measured < bound
