"""Train a small causal transformer on the characters of the Python standard library, with exact and
with approximate attention side by side.

    python examples/train_characters.py --setting tiny            # seconds
    python examples/train_characters.py --setting small           # minutes on one thread
    python examples/train_characters.py --setting large --library cupy   # made for a GPU

Every method starts from the same weights and sees the same batches, seed by seed, so that
differences between methods are paired. Two losses are measured on text that was not trained on:
with the attention that was trained, and with exact attention put in its place. A third figure says
whether a model profits from later characters, as an approximation may whose parameters come from
the whole sequence. A JSON file takes settings, versions and all figures, a picture the curves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from _library_text import FILES, HELD_OUT, VOCABULARY, Integers, text, windows
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
from approxattn.transformer import Transformer, forward

# centre="keys": a centre of the queries would let a token see still more of what comes later.
METHODS: dict[str, Any] = {
    "exact": aa.Exact(),
    "polynomial, plug-in": aa.Polynomial(
        degree=2, basis="taylor", gradient="plug-in", centre="keys"
    ),
    "polynomial, consistent": aa.Polynomial(
        degree=2, basis="taylor", gradient="consistent", centre="keys"
    ),
    "polynomial of degree 6, plug-in": aa.Polynomial(
        degree=6, basis="taylor", gradient="plug-in", centre="keys"
    ),
    "polynomial of degree 6, consistent": aa.Polynomial(
        degree=6, basis="taylor", gradient="consistent", centre="keys"
    ),
    "yoso, expectation": aa.YosoExpectation(bits=4, normalize=True),
    # `Yoso` itself has no causal form, and neither has BERT-LSH as its authors' code computes it.
    "bert-lsh, other scores 0": aa.BertLSH(bits=2, tables=1, table_size=256),
    "bert-lsh, colliding pairs only": aa.BertLSH(bits=2, tables=1, table_size=256, fill=-np.inf),
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
    seeds: int
    rate: float = 3e-3


SETTINGS = {
    "tiny": Setting(layers=1, heads=2, d=8, n=12, batch=4, steps=6, every=3, seeds=2),
    "small": Setting(layers=2, heads=2, d=32, n=64, batch=8, steps=400, every=50, seeds=4),
    "large": Setting(
        layers=4, heads=4, d=128, n=256, batch=32, steps=4000, every=200, seeds=4, rate=1e-3
    ),
}


def batches(corpus: Integers, s: Setting, rng: np.random.Generator, xp: Any) -> Iterator[Batch]:
    """Yield stretches of text for ever, each character to be told from those before it."""
    while True:
        stretch = windows(corpus, s.n + 1, s.batch, rng)
        yield Batch(xp.asarray(stretch[:, :-1]), None, CrossEntropy(xp.asarray(stretch[:, 1:]), xp))


def held_out_loss(
    model: Transformer, method: Any, s: Setting, held: Integers, xp: Any, seed: int
) -> float:
    """Return the mean loss over eight batches of held-out text, the same ones for every method."""
    source, rng = batches(held, s, np.random.default_rng(0), xp), np.random.default_rng(seed)
    losses = []
    for _ in range(8):
        x, _, loss = next(source)
        loss(forward(model, x, method, rng=rng, certify=False).value)
        losses.append(loss.value)
    return float(np.mean(losses))


def profit_from_later_text(
    model: Transformer, method: Any, s: Setting, held: Integers, xp: Any, seed: int
) -> float:
    """Return by how much the loss of the first halves of stretches falls when the true second
    halves follow rather than those of other stretches: 0 for a strictly causal model.
    """
    half, rng = s.n // 2, np.random.default_rng(0)
    first = np.arange(s.n) < half
    gains = []
    for _ in range(8):
        stretch = windows(held, s.n + 1, s.batch, rng)
        own, targets = stretch[:, :-1], xp.asarray(stretch[:, 1:])
        foreign = np.concatenate([own[:, :half], np.roll(own, 1, axis=0)[:, half:]], axis=-1)
        losses = [
            CrossEntropy(targets, xp, weights=xp.asarray(np.broadcast_to(first, own.shape)))
            for _ in range(2)
        ]
        for x, loss in zip((foreign, own), losses, strict=True):
            loss(
                forward(
                    model, xp.asarray(x), method, rng=np.random.default_rng(seed), certify=False
                ).value
            )
        gains.append(losses[0].value - losses[1].value)
    return float(np.mean(gains))


def score_bounds(model: Transformer, s: Setting, held: Integers, xp: Any) -> list[float]:
    """Return, for each layer, the median over heads and tokens of the bound on a token's scores,
    keys centred: what a polynomial has to follow.
    """
    x = next(batches(held, s, np.random.default_rng(0), xp)).x
    out = forward(model, x, aa.Polynomial(degree=2, basis="taylor", centre="keys"))
    return [float(np.median(layer.certificate.facts["score bound"])) for layer in out.layers]


def train(method: Any, s: Setting, seed: int, xp: Any) -> Run:
    """Train one model; return its curves."""
    corpus, held = text(FILES), text(HELD_OUT)
    model = initial(
        np.random.default_rng((seed, 0)),
        layers=s.layers,
        heads=s.heads,
        d=s.d,
        n=s.n,
        vocabulary=VOCABULARY,
        classes=VOCABULARY,
        causal=True,
    )

    def measure(model: Transformer) -> dict[str, Any]:
        return {
            "own attention": held_out_loss(model, method, s, held, xp, seed),
            "exact attention": held_out_loss(model, aa.Exact(), s, held, xp, seed),
            "score bounds": score_bounds(model, s, held, xp),
        }

    source = batches(corpus, s, np.random.default_rng((seed, 1)), xp)
    draws = np.random.default_rng((seed, 2))
    run, trained = fit(
        moved(model, xp), method, source, measure, draws, steps=s.steps, every=s.every, rate=s.rate
    )
    return {
        **run,
        "profit from later text": profit_from_later_text(trained, method, s, held, xp, seed),
    }


def summary(runs: Mapping[str, list[Run]]) -> list[dict[str, Any]]:
    """Return, for each method, the final held-out losses and the 95 % interval of their paired
    difference to exact attention.
    """
    swapped = {
        name: [r["held out"][-1]["exact attention"] for r in rs] for name, rs in runs.items()
    }
    return [
        {
            "method": name,
            "held-out loss": found["own attention"],
            "with exact attention instead": float(np.mean(swapped[name])),
            "difference to exact": found["difference to exact"],
            "95% half width": found["half width of the difference"],
            "profit from later text": float(
                np.mean([r["profit from later text"] for r in runs[name]])
            ),
            "score bound": max(x for r in runs[name] for x in r["held out"][-1]["score bounds"]),
            "processor seconds": float(np.mean([r["seconds"] for r in runs[name]])),
        }
        for name, found in against_exact(runs, "own attention").items()
    ]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    chosen, runs, head = experiment(__doc__ or "", SETTINGS, METHODS, train, arguments)
    result: dict[str, Any] = {**head, "summary": summary(runs), "runs": runs}
    for line in result["summary"]:
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()})
    if chosen.out is not None:
        save(result, chosen.out, f"characters-{chosen.setting}")
        curves = chosen.out / f"characters-{chosen.setting}.svg"
        picture(runs, "own attention", "held-out loss, nats a character", curves)
    return result


if __name__ == "__main__":
    main()
