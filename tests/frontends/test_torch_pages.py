"""The examples of the pages on PyTorch and JAX run, in order, on small models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hugging_face_models import VOCABULARY, make

DOCS = Path(__file__).resolve().parents[2] / "docs"


def run(page: str, names: dict) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), names)  # noqa: S102 - our own page


def test_torch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

    def tokenizer(texts, **_):
        ids = torch.randint(1, VOCABULARY, (len(texts), 60))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    for kind, stand_in in (("AutoModel", make("bert")), ("AutoTokenizer", tokenizer)):
        loader = getattr(transformers, kind)
        monkeypatch.setattr(loader, "from_pretrained", lambda _, x=stand_in: x)
    names: dict = {}
    run("torch.md", names)
    printed = capsys.readouterr().out
    assert "median over heads" in printed
    assert "cosine of the outputs" in printed
    assert len(names["calls"]) == 2
    assert names["out"].shape == (2, 8, 1000, 16)


def test_jax() -> None:
    pytest.importorskip("jax")
    names: dict = {}
    run("jax.md", names)
    assert [x.shape for x in names["gradients"]] == [(8, 1000, 16)] * 3
