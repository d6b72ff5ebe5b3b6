"""The examples on transformers run at a tiny size, write what they say, and their parts
are right.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest
from scipy import stats

import approxattn as aa

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# the training examples share two modules that lie beside them
sys.path.insert(0, str(ROOT / "examples"))
training = load("_training")
library_text = load("_library_text")
characters = load("train_characters")
listops = load("train_listops")
masked = load("train_masked")
tables = load("training_tables")
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


def test_only_methods_that_look_ahead_profit_from_later_text() -> None:
    setting, held = characters.SETTINGS["tiny"], library_text.text(library_text.HELD_OUT)
    model = training.initial(
        np.random.default_rng(0),
        layers=1,
        heads=2,
        d=8,
        n=12,
        vocabulary=97,
        classes=97,
        causal=True,
    )

    def profit(method: Any, model: Any = model) -> float:
        return float(characters.profit_from_later_text(model, method, setting, held, xp, 0))

    assert profit(aa.Exact()) == pytest.approx(0, abs=1e-6)
    assert profit(aa.YosoExpectation(bits=4, normalize=True)) == pytest.approx(0, abs=1e-6)
    assert profit(aa.BertLSH(bits=2, tables=1, table_size=256)) == pytest.approx(0, abs=1e-6)
    # the centre of the keys holds later ones
    assert abs(profit(aa.Polynomial(degree=2, basis="taylor"))) > 1e-6
    seeing = training.initial(
        np.random.default_rng(0),
        layers=1,
        heads=2,
        d=8,
        n=12,
        vocabulary=97,
        classes=97,
        causal=False,
    )
    assert abs(profit(aa.Exact(), seeing)) > 1e-4


def test_methods_start_from_the_same_weights_and_see_the_same_batches() -> None:
    setting = characters.SETTINGS["tiny"]
    runs = [
        characters.train(m, setting, 3, xp)
        for m in (aa.Exact(), aa.Polynomial(degree=12, basis="taylor"))
    ]
    assert runs[0]["training"] == pytest.approx(runs[1]["training"], abs=1e-4)
    again = characters.train(aa.Exact(), setting, 3, xp)
    assert again["training"] == runs[0]["training"]
    assert characters.train(aa.Exact(), setting, 4, xp)["training"] != runs[0]["training"]


def slope_of(loss: Callable[[], Any], logits: Any, direction: Any) -> float:
    """Return the slope of a loss along a direction, by differences."""

    def at(t: float) -> float:
        it = loss()
        it(logits + t * direction)
        return float(it.value)

    return (at(1e-5) - at(-1e-5)) / 2e-5


def test_losses_have_their_gradients() -> None:
    rng = np.random.default_rng(0)
    logits, direction = rng.standard_normal((2, 2, 3, 5))
    targets, weights = (
        rng.integers(0, 5, (2, 3)),
        np.array([[True, False, True], [False, False, True]]),
    )
    mask, classes = np.array([[True, True, False], [True, True, True]]), np.array([4, 0])
    losses: list[Callable[[], Any]] = [
        lambda: training.CrossEntropy(targets, xp),
        lambda: training.CrossEntropy(targets, xp, weights=weights),
        lambda: training.PooledCrossEntropy(classes, mask, xp),
    ]
    for loss in losses:
        found = float(np.sum(direction * loss()(logits)))
        assert slope_of(loss, logits, direction) == pytest.approx(found, rel=1e-7)


def test_losses_have_their_values() -> None:
    rng = np.random.default_rng(1)
    logits, targets = rng.standard_normal((2, 3, 5)), rng.integers(0, 5, (2, 3))
    weights = np.array([[True, False, True], [False, False, True]])
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    each = -np.log(np.take_along_axis(p, targets[..., None], -1))[..., 0]
    right = p.argmax(-1) == targets
    for chosen, given in ((np.ones((2, 3), bool), None), (weights, weights)):
        loss = training.CrossEntropy(targets, xp, weights=given)
        loss(logits)
        assert loss.value == pytest.approx(each[chosen].mean())
        assert loss.accuracy == pytest.approx(right[chosen].mean())
    pooled = training.PooledCrossEntropy(
        np.array([4, 0]), np.array([[True, True, False], [True] * 3]), xp
    )
    pooled(logits)
    means = np.stack([logits[0, :2].mean(0), logits[1].mean(0)])
    q = np.exp(means) / np.exp(means).sum(-1, keepdims=True)
    assert pooled.value == pytest.approx(-np.log([q[0, 4], q[1, 0]]).mean())
    assert pooled.accuracy == pytest.approx((means.argmax(-1) == [4, 0]).mean())


def test_adam_takes_its_first_step_of_the_given_size_and_finds_a_minimum() -> None:
    adam, x = training.Adam(0.1), {"x": np.array([3.0, -2.0])}
    x = adam.update(x, {"x": 2 * x["x"]})
    np.testing.assert_allclose(x["x"], [2.9, -1.9])
    for _ in range(300):
        x = adam.update(x, {"x": 2 * x["x"]})
    assert np.abs(x["x"]).max() < 1e-2


def test_intervals_are_those_of_a_paired_t_test() -> None:
    ends = {"exact": [1.0, 2.0, 4.0, 3.0], "other": [1.5, 2.0, 4.25, 3.75]}
    runs = {name: [{"held out": [{"loss": x}]} for x in xs] for name, xs in ends.items()}
    found = training.against_exact(runs, "loss")
    interval = stats.ttest_rel(ends["other"], ends["exact"]).confidence_interval()
    gap, half = (found["other"][k] for k in ("difference to exact", "half width of the difference"))
    assert (gap - half, gap + half) == pytest.approx((interval.low, interval.high))
    assert (
        found["exact"]["difference to exact"] == found["exact"]["half width of the difference"] == 0
    )
    alone = stats.ttest_1samp(ends["other"], 0.0).confidence_interval()
    mean, half = (found["other"][k] for k in ("loss", "half width"))
    assert (mean - half, mean + half) == pytest.approx((alone.low, alone.high))


def test_unknown_method_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        masked.main(["--methods", "bert-lsh"])
    assert "bert-lsh corrected" in capsys.readouterr().err


# --- ListOps --------------------------------------------------------------------------------------


def parsed(words: list[str]) -> int:
    """Return the value of a written expression: an interpreter that shares nothing with the
    example.
    """
    stack: list[list[Any]] = [[]]
    for word in words:
        if word.startswith("["):
            stack.append([word])
        elif word == "]":
            name, *numbers = stack.pop()
            rule = {
                "[MIN": min,
                "[MAX": max,
                "[MED": lambda x: int(statistics.median(x)),
                "[SM": lambda x: sum(x) % 10,
            }
            stack[-1].append(rule[name](numbers))
        else:
            stack[-1].append(int(word))
    ((result,),) = stack
    return int(result)


def test_listops_values() -> None:
    setting = listops.SETTINGS["small"]
    rows, values = listops.expressions(setting, 300, np.random.default_rng(0))
    for row, value in zip(rows, values, strict=True):
        assert parsed(listops.written(row).split()) == value
    lengths = (rows != listops.PAD).sum(-1)
    assert setting.shortest <= lengths.min() < lengths.max() <= setting.n
    assert set(np.unique(values)) == set(range(10))
    assert (
        parsed(
            [
                "[MAX",
                "4",
                "[MIN",
                "7",
                "2",
                "]",
                "[SM",
                "9",
                "5",
                "]",
                "[MED",
                "9",
                "8",
                "3",
                "2",
                "]",
                "]",
            ]
        )
        == 5
    )


def test_listops_grammar() -> None:
    rng = np.random.default_rng(1)
    trees = [listops.draw(rng, 3, 4) for _ in range(4000)]
    shared = np.mean([not isinstance(tree, int) for tree in trees])
    assert abs(shared - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4000)
    parts = [tree[1] for tree in trees if not isinstance(tree, int)]
    assert {len(p) for p in parts} == {2, 3, 4}
    inner = [part for p in parts for part in p if not isinstance(part, int)]
    # nothing is deeper than the greatest depth
    assert all(isinstance(leaf, int) for part in inner for leaf in part[1])


def test_listops_baselines_and_padding() -> None:
    x, y = np.array([[10, 1, 14], [10, 2, 14], [11, 3, 14], [11, 4, 14]]), np.array([0, 0, 9, 8])
    found = listops.baselines((x, y), (x[1:], y[1:]))
    assert (found["commonest value"], found["commonest value by operator"]) == pytest.approx(
        (1 / 3, 2 / 3)
    )
    setting = listops.SETTINGS["tiny"]
    model = training.initial(
        np.random.default_rng(0),
        layers=2,
        heads=2,
        d=8,
        n=24,
        vocabulary=listops.VOCABULARY,
        classes=10,
        causal=False,
    )
    rows, values = listops.expressions(setting, 30, np.random.default_rng(2))
    # padding changes nothing: in batches of like length, and one by one
    for method in listops.METHODS.values():
        together = listops.measured(model, method, (rows, values), xp)
        alone = [
            listops.measured(model, method, (rows[i : i + 1], values[i : i + 1]), xp)
            for i in range(30)
        ]
        assert together["loss"] == pytest.approx(np.mean([r["loss"] for r in alone]), rel=1e-4)


@pytest.mark.parametrize("name", ["listops", "masked"])
def test_other_trainings_run_and_report(name: str, tmp_path: Path) -> None:
    example = {"listops": listops, "masked": masked}[name]
    result = example.main(["--setting", "tiny", "--seeds", "3", "--out", str(tmp_path)])
    stored = json.loads((tmp_path / f"{name}-tiny.json").read_text())
    assert stored["setting"] | {"seeds": 3, "name": "tiny"} == stored["setting"]
    assert (tmp_path / f"{name}-tiny.svg").stat().st_size > 1000
    assert [line["method"] for line in result["summary"]][: len(example.METHODS)] == list(
        example.METHODS
    )
    assert {len(runs) for runs in result["runs"].values()} == {3}
    assert all(np.isfinite(r["training"]).all() for runs in result["runs"].values() for r in runs)


# --- masked characters ----------------------------------------------------------------------------


def test_masking() -> None:
    corpus, setting = (
        library_text.text(library_text.HELD_OUT),
        masked.Setting(**{**vars(masked.SETTINGS["small"]), "batch": 4000}),
    )
    read, truth, told = masked.masked(corpus, setting, np.random.default_rng(0))
    assert abs(told.mean() - 0.15 - 0.85**16 / 16) < 0.007  # a row in which none was drawn gets one
    assert told.any(-1).all()
    np.testing.assert_array_equal(read[~told], truth[~told])
    assert abs((read[told] == masked.MASK).mean() - 0.8) < 0.03
    assert 0.09 < (read[told] == truth[told]).mean() < 0.13
    assert truth.max() < library_text.VOCABULARY


def test_what_masked_training_starts_from() -> None:
    corpus = np.array([2, 2, 2, 5, 2, 0, 2, 2])
    np.testing.assert_array_equal(library_text.single_blanks(corpus), [2, 5, 2, 0, 2])
    p = np.full(97, 0.5)
    p[[2, 5, 0]] += [6, 1, 1]
    assert masked.frequencies_alone(corpus, np.array([5, 2])) == pytest.approx(
        -np.log(p[[5, 2]] / p.sum()).mean()
    )
    wave = masked.waves(16, 8)
    np.testing.assert_allclose(np.sum(wave**2, axis=-1), 4, rtol=1e-6)
    assert np.linalg.norm(wave[3] - wave[4]) == pytest.approx(
        np.linalg.norm(wave[9] - wave[10]), rel=1e-4
    )


def test_verdicts() -> None:
    found = [
        masked.verdict({"difference to exact": x, "half width of the difference": 0.1})
        for x in (-0.2, 0.05, 0.2)
    ]
    assert [f.split()[0] for f in found] == ["better", "not", "worse"]


# --- tables ---------------------------------------------------------------------------------------


def test_tables_of_the_documentation_are_those_of_the_results() -> None:
    page = (ROOT / "docs" / "transformers.md").read_text(encoding="utf-8")
    stale = "docs/transformers.md is stale: run `python examples/training_tables.py`"
    assert tables.filled(page, ROOT / "docs" / "results") == page, stale


def test_tables_show_the_figures(tmp_path: Path) -> None:
    runs = {
        name: [
            {"held out": [{"accuracy": x}], "seconds": 2.0, "baselines": {"chance": 0.1}}
            for x in xs
        ]
        for name, xs in {"exact": [0.5, 0.7], "other": [0.4, 0.5]}.items()
    }
    (tmp_path / "listops-small.json").write_text(json.dumps({"summary": listops.summary(runs)}))
    places = "<!-- listops -->\nold\n<!-- end listops -->"
    page = tables.filled(f"before\n{places}\nafter\n", tmp_path)
    # Student's 0.975 quantile with one degree of freedom is 12.706: 12.706 x 0.0707 / sqrt 2 =
    # 0.635 for differences of -0.1 and -0.2.
    assert "| other | 45.0 ± 63.5 | −15.0 ± 63.5 | 2 |" in page
    assert "| exact | 60.0 ± 127.1 | 0 | 2 |" in page
    assert "| *chance* | 10.0 |  |  |" in page
    assert page.startswith("before\n<!-- listops -->\n| attention")
    assert page.endswith("<!-- end listops -->\nafter\n")
    assert "old" not in page
    with pytest.raises(ValueError, match="one place"):
        tables.filled("nothing here", tmp_path)


def test_errors_through_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (result,) = errors.main(
        ["--layers", "3", "--degrees", "6", "--n", "12", "--out", str(tmp_path)]
    )
    assert (tmp_path / "error-through-layers.json").exists()
    assert "bound/measured" in capsys.readouterr().out
    for measured, local, wide in zip(
        result["measured"],
        result["bound, local constants"],
        result["bound, global constants"],
        strict=True,
    ):
        assert 0 < measured < local < wide * (1 + 1e-6)
    for measured, bound in zip(
        result["gradient, relative: measured"], result["gradient, relative: bound"], strict=True
    ):
        assert 0 < measured < bound
