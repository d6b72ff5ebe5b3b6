"""A BERT of a few numbers on disk, and the script that extracts heads from one."""

from __future__ import annotations

import importlib.util
import json
import struct
from pathlib import Path
from types import ModuleType

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "atten", "##tion", "##s", "cafe", ",", "!", "a"]


def load_extractor() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "extract_minilm", ROOT / "examples" / "extract_minilm.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_model(folder: Path, *, width: int = 4, heads: int = 2, inner: int = 6) -> None:
    """Write a one-layer BERT with random weights in the published file format."""
    rng = np.random.default_rng(5)
    at = "encoder.layer.0"
    shapes: dict[str, tuple[int, ...]] = {}
    shapes["embeddings.word_embeddings.weight"] = (len(VOCABULARY), width)
    shapes["embeddings.position_embeddings.weight"] = (16, width)
    shapes["embeddings.token_type_embeddings.weight"] = (2, width)
    for name in (
        "embeddings.LayerNorm",
        f"{at}.attention.output.LayerNorm",
        f"{at}.output.LayerNorm",
    ):
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    for name, out, into in [
        *((f"{at}.attention.self.{x}", width, width) for x in ("query", "key", "value")),
        (f"{at}.attention.output.dense", width, width),
        (f"{at}.intermediate.dense", inner, width),
        (f"{at}.output.dense", width, inner),
    ]:
        shapes |= {f"{name}.weight": (out, into), f"{name}.bias": (out,)}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, shape in shapes.items():
        block = rng.standard_normal(shape).astype("<f4").tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(shape),
            "data_offsets": [len(data), len(data) + len(block)],
        }
        data += block
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    config = {
        "num_attention_heads": heads,
        "num_hidden_layers": 1,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 16,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
