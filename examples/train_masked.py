"""Train a small encoder to tell masked characters of the Python standard library, with exact
attention and with BERT-LSH side by side.

    python examples/train_masked.py --setting tiny            # seconds
    python examples/train_masked.py --setting small           # minutes on one thread
    python examples/train_masked.py --setting large --library cupy   # made for a GPU

The experiment of Li & Yip (2024, "BERT-LSH") in miniature: their model of two layers, two heads of
width 64, a perceptron of width 512; their hashes, 2 hyperplanes, 1 table of 256 codes, drawn anew
at every call, in training and in the evaluation. They report that the model with LSH attention
unexpectedly outperforms the baseline in pre-training (one seed). Here every method starts from the
same weights and sees the same batches, seed by seed, and the differences get intervals.

Runs of blanks count as one. 15 % of the characters are to be told; of these 80 % read as a mask, 10
% as a random character, 10 % as themselves (BERT's recipe; wording unverified). The positions begin
as sines and cosines, without which so short a training learns little but the frequencies of
characters: to beat is the loss of a model that knows just these.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from _library_text import FILES, HELD_OUT, VOCABULARY, Integers, single_blanks, text, windows
from _training import (
    Batch,
    CrossEntropy,
    Run,
    against_exact,
    experiment,
    fit,
    initial,
    moved,
    picture,
    save,
)

import approxattn as aa
from approxattn.transformer import Transformer, forward, with_parameters

MASK = VOCABULARY
SHARE, AS_MASK, AS_RANDOM = 0.15, 0.8, 0.1

METHODS: dict[str, Any] = {
    "exact": aa.Exact(),
    "bert-lsh as in its code": aa.BertLSH(bits=2, tables=1, table_size=256, fidelity="paper-code"),
    "bert-lsh corrected": aa.BertLSH(bits=2, tables=1, table_size=256),
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Sizes of one experiment."""

    layers: int
    heads: int
    d: int
    n: int
    batch: int
    steps: int
    every: int
    tests: int
    seeds: int
    rate: float = 2e-3


SETTINGS = {
    "tiny": Setting(layers=2, heads=2, d=8, n=12, batch=4, steps=6, every=3, tests=2, seeds=2),
    "small": Setting(
        layers=2, heads=2, d=128, n=16, batch=16, steps=400, every=100, tests=24, seeds=4
    ),
    "large": Setting(
        layers=2,
        heads=2,
        d=128,
        n=512,
        batch=32,
        steps=20_000,
        every=1000,
        tests=64,
        seeds=5,
        rate=1e-3,
    ),
}


def masked(
    corpus: Integers, s: Setting, rng: np.random.Generator
) -> tuple[Integers, Integers, Any]:
    """Return what the model reads, what was there, and which characters it has to tell, shapes
    (batch, n).
    """
    truth = windows(corpus, s.n, s.batch, rng)
    told = rng.random(truth.shape) < SHARE
    told[:, 0] |= ~np.any(told, axis=-1)  # at least one in every row, so that no loss is empty
    kind = rng.random(truth.shape)
    noise = rng.integers(0, VOCABULARY, truth.shape)
    changed = np.where(kind < AS_MASK, MASK, np.where(kind < AS_MASK + AS_RANDOM, noise, truth))
    return np.where(told, changed, truth), truth, told


def batches(corpus: Integers, s: Setting, rng: np.random.Generator, xp: Any) -> Iterator[Batch]:
    while True:
        read, truth, told = masked(corpus, s, rng)
        yield Batch(
            xp.asarray(read), None, CrossEntropy(xp.asarray(truth), xp, weights=xp.asarray(told))
        )


def measured(
    model: Transformer, method: Any, s: Setting, held: Integers, seed: int, xp: Any
) -> dict[str, float]:
    """Return loss and accuracy on held-out text, the same for every method of a seed."""
    source, rng = (
        batches(held, s, np.random.default_rng((seed, 3)), xp),
        np.random.default_rng((seed, 4)),
    )
    figures = []
    for _ in range(s.tests):
        x, _, loss = next(source)
        loss(forward(model, x, method, rng=rng, certify=False).value)
        figures.append((loss.value, loss.accuracy))
    loss_value, accuracy = np.mean(figures, axis=0)
    return {"loss": float(loss_value), "accuracy": float(accuracy)}


def waves(n: int, d: int) -> Any:
    """Return sines and cosines of the positions, shape (n, d), wavelengths 2 pi to 100 pi."""
    angles = np.arange(n)[:, None] * 50.0 ** (-np.arange(d // 2) / (d // 2))
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).astype(np.float32)


def frequencies_alone(corpus: Integers, held: Integers) -> float:
    """Return the loss on a text of the frequencies of characters in another, each counted half once
    more.
    """
    counts = np.bincount(corpus, minlength=VOCABULARY) + 0.5
    return float(-np.mean(np.log(counts / counts.sum())[held]))


def train(method: Any, s: Setting, seed: int, xp: Any) -> Run:
    """Train one model; return its curves, of its own attention."""
    corpus, held = single_blanks(text(FILES)), single_blanks(text(HELD_OUT))
    model = initial(
        np.random.default_rng((seed, 0)),
        layers=s.layers,
        heads=s.heads,
        d=s.d,
        n=s.n,
        vocabulary=VOCABULARY + 1,
        classes=VOCABULARY,
        causal=False,
    )
    model = with_parameters(model, {"first.0.positions": waves(s.n, s.d)})
    source = batches(corpus, s, np.random.default_rng((seed, 1)), xp)
    run, _ = fit(
        moved(model, xp),
        method,
        source,
        lambda m: measured(m, method, s, held, seed, xp),
        np.random.default_rng((seed, 2)),
        steps=s.steps,
        every=s.every,
        rate=s.rate,
        decay=True,
    )
    return run


def summary(runs: Mapping[str, list[Run]]) -> list[dict[str, Any]]:
    """Return final loss and accuracy of each method, their paired differences to exact attention
    with 95 % intervals, and what they say.
    """
    loss, accuracy = (against_exact(runs, name) for name in ("loss", "accuracy"))
    return [
        {
            "method": name,
            "loss": loss[name],
            "accuracy": accuracy[name],
            "verdict": "" if name == "exact" else verdict(loss[name]),
            "processor seconds": float(np.mean([r["seconds"] for r in runs[name]])),
        }
        for name in runs
    ]


def verdict(loss: Mapping[str, float]) -> str:
    """Say whether a method's loss is below that of exact attention beyond chance."""
    gap, half = loss["difference to exact"], loss["half width of the difference"]
    if gap + half < 0:
        return "better than exact attention"
    return "worse than exact attention" if gap - half > 0 else "not told apart from exact attention"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    chosen, runs, head = experiment(__doc__ or "", SETTINGS, METHODS, train, arguments)
    baseline = frequencies_alone(single_blanks(text(FILES)), single_blanks(text(HELD_OUT)))
    result: dict[str, Any] = {
        **head,
        "loss of the frequencies": baseline,
        "summary": summary(runs),
        "runs": runs,
    }
    print(f"the frequencies of characters alone: loss {baseline:.4f}")
    for line in result["summary"]:
        gap, half = (
            line["loss"][k] for k in ("difference to exact", "half width of the difference")
        )
        print(
            f"{line['method']}: loss {line['loss']['loss']:.4f}, {gap:+.4f} ± {half:.4f} to exact; "
            f"accuracy {line['accuracy']['accuracy']:.4f}; {line['verdict']}"
        )
    if chosen.out is not None:
        save(result, chosen.out, f"masked-{chosen.setting}")
        picture(
            runs,
            "loss",
            "held-out loss, nats a masked character",
            chosen.out / f"masked-{chosen.setting}.svg",
        )
    return result


if __name__ == "__main__":
    main()
