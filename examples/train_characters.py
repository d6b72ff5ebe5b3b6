"""Train a small causal transformer on the characters of the Python standard library, with exact and with approximate attention side by side.

    python examples/train_characters.py --setting tiny            # seconds
    python examples/train_characters.py --setting small           # minutes on one thread
    python examples/train_characters.py --setting large --library cupy   # made for a GPU

Every method starts from the same weights and sees the same batches, seed by seed, so that differences between methods are paired. Two losses are measured on text that
was not trained on: with the attention that was trained, and with exact attention put in its place. A JSON file takes settings, versions and all figures, a picture the curves.
"""

import argparse
import importlib
import json
import math
import platform
import sysconfig
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import approxattn as aa
from approxattn.transformer import (
    Embedding,
    Layer,
    LayerNorm,
    Linear,
    Mlp,
    Residual,
    SelfAttention,
    Transformer,
    forward,
    gradient,
    parameters,
    with_parameters,
)

FILES = tuple(
    f"{name}.py"
    for name in (
        *(
            "argparse",
            "ast",
            "calendar",
            "cmd",
            "configparser",
            "contextlib",
            "copy",
            "csv",
            "dataclasses",
            "difflib",
            "dis",
            "doctest",
        ),
        *(
            "enum",
            "fractions",
            "functools",
            "gettext",
            "heapq",
            "inspect",
            "locale",
            "mailbox",
            "optparse",
            "pdb",
            "pickle",
            "platform",
        ),
        *(
            "random",
            "shutil",
            "socket",
            "statistics",
            "string",
            "subprocess",
            "tarfile",
            "textwrap",
            "threading",
            "tokenize",
            "typing",
            "uuid",
        ),
    )
)
HELD_OUT = ("bisect.py", "shelve.py", "queue.py", "sched.py", "pprint.py", "glob.py")
VOCABULARY = 97  # tab, newline, the 95 printable ASCII characters; anything else becomes '?'

METHODS: dict[str, Any] = {
    "exact": aa.Exact(),
    "polynomial, plug-in": aa.Polynomial(degree=2, basis="taylor", gradient="plug-in"),
    "polynomial, consistent": aa.Polynomial(degree=2, basis="taylor", gradient="consistent"),
    "polynomial of degree 6, plug-in": aa.Polynomial(degree=6, basis="taylor", gradient="plug-in"),
    "polynomial of degree 6, consistent": aa.Polynomial(degree=6, basis="taylor", gradient="consistent"),
    "yoso, expectation": aa.YosoExpectation(bits=4, normalize=True),
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
    "large": Setting(layers=4, heads=4, d=128, n=256, batch=32, steps=4000, every=200, seeds=4, rate=1e-3),
}


def text(names: tuple[str, ...]) -> np.ndarray[Any, Any]:
    """Return standard-library modules as integers below VOCABULARY."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    raw = np.frombuffer(
        b"\n".join((folder / name).read_bytes() for name in names if (folder / name).exists()), np.uint8
    )
    printable = np.where((raw >= 32) & (raw < 127), raw - 30, ord("?") - 30)
    return np.where(raw == 9, 0, np.where(raw == 10, 1, printable)).astype(np.int64)


def batches(corpus: np.ndarray[Any, Any], s: Setting, rng: np.random.Generator) -> Iterator[tuple[Any, Any]]:
    """Yield inputs and targets, shape (batch, n) each, for ever."""
    while True:
        starts = rng.integers(0, len(corpus) - s.n - 1, s.batch)
        windows = corpus[starts[:, None] + np.arange(s.n + 1)]
        yield windows[:, :-1], windows[:, 1:]


def initial(s: Setting, rng: np.random.Generator) -> Transformer:
    """Return a pre-norm causal transformer with random weights in float32."""

    def matrix(*shape: int, gain: float = 1.0) -> Any:
        return (gain * rng.standard_normal(shape) / math.sqrt(shape[-2])).astype(np.float32)

    def norm() -> LayerNorm:
        return LayerNorm(gain=np.ones(s.d, np.float32), shift=np.zeros(s.d, np.float32))

    def zeros(n: int) -> Any:
        return np.zeros(n, np.float32)

    width, shrink = s.d // s.heads, 1 / math.sqrt(2 * s.layers)

    def layer(last: bool) -> Layer:
        attention = SelfAttention(
            **{name: matrix(s.heads, s.d, width) for name in ("wq", "wk", "wv")}, wo=matrix(s.d, s.d, gain=shrink), causal=True
        )  # fmt: skip
        mlp = Mlp(w1=matrix(s.d, 4 * s.d), b1=zeros(4 * s.d), w2=matrix(4 * s.d, s.d, gain=shrink), b2=zeros(s.d))
        end = (norm(), Linear(w=matrix(s.d, VOCABULARY, gain=0.5), b=zeros(VOCABULARY))) if last else ()
        return Layer(attention=attention, norm=norm(), residual=True, then=(Residual(maps=(norm(), mlp)), *end))

    tables = (0.5 * rng.standard_normal((m, s.d)).astype(np.float32) for m in (VOCABULARY, s.n))
    return Transformer(
        first=(Embedding(tokens=next(tables), positions=next(tables)),), layers=tuple(layer(i == s.layers - 1) for i in range(s.layers))
    )  # fmt: skip


class Loss:
    """Mean cross entropy in nats a character; called with logits, it returns its gradient and remembers its value."""

    def __init__(self, targets: Any, xp: Any) -> None:
        self.targets, self.xp, self.value = targets, xp, math.nan

    def __call__(self, logits: Any) -> Any:
        xp, count = self.xp, math.prod(self.targets.shape)
        shifted = logits - xp.max(logits, axis=-1, keepdims=True)
        log_p = shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
        hot = xp.astype(self.targets[..., None] == xp.arange(logits.shape[-1]), logits.dtype)
        self.value = float(-xp.sum(hot * log_p) / count)
        return (xp.exp(log_p) - hot) / count


class Adam:
    """Adam (Kingma & Ba 2015, Algorithm 1; wording unverified)."""

    def __init__(self, rate: float, first: float = 0.9, second: float = 0.99, epsilon: float = 1e-8) -> None:
        self.rate, self.first, self.second, self.epsilon = rate, first, second, epsilon
        self.step, self.mean, self.square = 0, dict[str, Any](), dict[str, Any]()

    def update(self, values: Mapping[str, Any], slopes: Mapping[str, Any]) -> dict[str, Any]:
        self.step += 1
        out = {}
        for name, g in slopes.items():
            self.mean[name] = self.first * self.mean.get(name, 0 * g) + (1 - self.first) * g
            self.square[name] = self.second * self.square.get(name, 0 * g) + (1 - self.second) * g * g
            mean = self.mean[name] / (1 - self.first**self.step)
            square = self.square[name] / (1 - self.second**self.step)
            out[name] = values[name] - self.rate * mean / (square**0.5 + self.epsilon)
        return out


def held_out_loss(model: Transformer, method: Any, s: Setting, held: Any, xp: Any, seed: int) -> float:
    """Return the mean loss over eight batches of held-out text, the same ones for every method."""
    source, rng = batches(held, s, np.random.default_rng(0)), np.random.default_rng(seed)
    losses = []
    for _ in range(8):
        x, y = (xp.asarray(a) for a in next(source))
        loss = Loss(y, xp)
        loss(forward(model, x, method, rng=rng, certify=False).value)
        losses.append(loss.value)
    return float(np.mean(losses))


def score_bounds(model: Transformer, s: Setting, held: Any, xp: Any) -> list[float]:
    """Return, for each layer, the median over heads and tokens of the bound on a token's scores, keys centred: what a polynomial has to follow."""
    x, _ = next(batches(held, s, np.random.default_rng(0)))
    out = forward(model, xp.asarray(x), aa.Polynomial(degree=2, basis="taylor"))
    return [float(np.median(layer.certificate.facts["score bound"])) for layer in out.layers]


def train(method: Any, s: Setting, seed: int, xp: Any) -> dict[str, Any]:
    """Train one model; return its curves."""
    corpus, held = text(FILES), text(HELD_OUT)
    model = initial(s, np.random.default_rng((seed, 0)))
    model = with_parameters(model, {name: xp.asarray(p) for name, p in parameters(model).items()})
    source, rng, adam = (
        batches(corpus, s, np.random.default_rng((seed, 1))),
        np.random.default_rng((seed, 2)),
        Adam(s.rate),
    )
    train_losses, curve, started = [], [], time.process_time()
    for step in range(s.steps + 1):
        if step % s.every == 0:
            curve.append({
                "step": step,
                "own attention": held_out_loss(model, method, s, held, xp, seed),
                "exact attention": held_out_loss(model, aa.Exact(), s, held, xp, seed),
                "score bounds": score_bounds(model, s, held, xp),
            })  # fmt: skip
        if step == s.steps:
            break
        x, y = (xp.asarray(a) for a in next(source))
        loss = Loss(y, xp)
        slopes = parameters(gradient(model, x, loss, method, rng=rng, certify=False).model)
        model = with_parameters(model, adam.update(parameters(model), slopes))
        train_losses.append(loss.value)
    return {"held out": curve, "training": train_losses, "seconds": time.process_time() - started}


def summary(runs: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return, for each method, the final held-out losses and the 95 % interval of their paired difference to exact attention."""
    from scipy.stats import t

    final = {name: np.array([r["held out"][-1]["own attention"] for r in rs]) for name, rs in runs.items()}
    swapped = {name: np.array([r["held out"][-1]["exact attention"] for r in rs]) for name, rs in runs.items()}
    lines = []
    for name, losses in final.items():
        difference, count = losses - final["exact"], len(losses)
        spread = float(np.std(difference, ddof=1)) if count > 1 else math.nan
        half = float(t.ppf(0.975, max(1, count - 1))) * spread / math.sqrt(count)
        lines.append({
            "method": name,
            "held-out loss": float(np.mean(losses)),
            "with exact attention instead": float(np.mean(swapped[name])),
            "difference to exact": float(np.mean(difference)),
            "score bound": max(x for r in runs[name] for x in r["held out"][-1]["score bounds"]),
            "95% half width": half,
            "processor seconds": float(np.mean([r["seconds"] for r in runs[name]])),
        })  # fmt: skip
    return lines


def picture(runs: Mapping[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw the held-out curves, one colour a method, one line a seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for i, (name, rs) in enumerate(runs.items()):
        for j, r in enumerate(rs):
            steps, losses = zip(*((p["step"], p["own attention"]) for p in r["held out"]), strict=True)
            axes.plot(steps, losses, color=f"C{i}", alpha=0.7, linewidth=1.2, label=name if j == 0 else None)
    axes.set(xlabel="step", ylabel="held-out loss, nats a character", title="one line a seed")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=SETTINGS, default="tiny")
    parser.add_argument("--library", default="numpy", help="numpy or cupy")
    parser.add_argument("--methods", default="all", help="names separated by semicolons, or all")
    parser.add_argument("--out", type=Path, default=None, help="folder for the JSON file and the picture")
    chosen = parser.parse_args(arguments)
    setting, xp = SETTINGS[chosen.setting], importlib.import_module(f"array_api_compat.{chosen.library}")
    names = list(METHODS) if chosen.methods == "all" else ["exact", *(m.strip() for m in chosen.methods.split(";"))]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in dict.fromkeys(names)}
    with threadpool_limits(1):
        for seed in range(setting.seeds):
            for name, done in runs.items():
                done.append(train(METHODS[name], setting, seed, xp))
                print(f"seed {seed}, {name}: {done[-1]['held out'][-1]}", flush=True)
    result: dict[str, Any] = {
        "setting": {"name": chosen.setting, **asdict(setting)},
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "library": chosen.library},
        "methods": {name: repr(METHODS[name]) for name in runs},
        "summary": summary(runs),
        "runs": runs,
    }
    for line in result["summary"]:
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()})
    if chosen.out is not None:
        chosen.out.mkdir(parents=True, exist_ok=True)
        (chosen.out / f"characters-{chosen.setting}.json").write_text(json.dumps(_short(result), indent=1) + "\n", encoding="utf-8")  # fmt: skip
        picture(runs, chosen.out / f"characters-{chosen.setting}.svg")
    return result


def _short(x: Any) -> Any:
    """Round floats to six digits, for a file that can be read."""
    if isinstance(x, float):
        return float(f"{x:.6g}")
    if isinstance(x, dict):
        return {k: _short(v) for k, v in x.items()}
    return [_short(v) for v in x] if isinstance(x, list) else x


if __name__ == "__main__":
    main()
