"""What the training examples share: a small transformer, its losses, Adam, the loop, paired
differences over seeds, the picture of the curves.
"""

import argparse
import importlib
import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from approxattn.transformer import (
    Embedding,
    Layer,
    LayerNorm,
    Linear,
    Mlp,
    Residual,
    SelfAttention,
    Transformer,
    gradient,
    parameters,
    with_parameters,
)

Run = dict[str, Any]


def initial(
    rng: np.random.Generator,
    *,
    layers: int,
    heads: int,
    d: int,
    n: int,
    vocabulary: int,
    classes: int,
    causal: bool,
) -> Transformer:
    """Return a pre-norm transformer with random weights in float32, from integers to logits, n
    tokens at most.
    """

    def matrix(*shape: int, gain: float = 1.0) -> Any:
        return (gain * rng.standard_normal(shape) / math.sqrt(shape[-2])).astype(np.float32)

    def norm() -> LayerNorm:
        return LayerNorm(gain=np.ones(d, np.float32), shift=np.zeros(d, np.float32))

    def zeros(size: int) -> Any:
        return np.zeros(size, np.float32)

    width, shrink = d // heads, 1 / math.sqrt(2 * layers)

    def layer(last: bool) -> Layer:
        maps = {name: matrix(heads, d, width) for name in ("wq", "wk", "wv")}
        attention = SelfAttention(**maps, wo=matrix(d, d, gain=shrink), causal=causal)
        mlp = Mlp(
            w1=matrix(d, 4 * d), b1=zeros(4 * d), w2=matrix(4 * d, d, gain=shrink), b2=zeros(d)
        )
        end = (norm(), Linear(w=matrix(d, classes, gain=0.5), b=zeros(classes))) if last else ()
        return Layer(
            attention=attention,
            norm=norm(),
            residual=True,
            then=(Residual(maps=(norm(), mlp)), *end),
        )

    tokens, positions = (
        0.5 * rng.standard_normal((m, d)).astype(np.float32) for m in (vocabulary, n)
    )
    first = (Embedding(tokens=tokens, positions=positions),)
    return Transformer(first=first, layers=tuple(layer(i == layers - 1) for i in range(layers)))


def moved(model: Transformer, xp: Any) -> Transformer:
    """Return a model with its weights in another library."""
    return with_parameters(model, {name: xp.asarray(p) for name, p in parameters(model).items()})


class CrossEntropy:
    """Weighted mean cross entropy in nats.

    Called with logits, it returns its gradient and remembers its value and the share of right
    answers.

    targets: integers, shape (...); weights: not negative, shape (...), None for equal ones.
    """

    def __init__(self, targets: Any, xp: Any, weights: Any = None) -> None:
        self.targets, self.xp, self.weights = targets, xp, weights
        self.value = self.accuracy = math.nan

    def __call__(self, logits: Any) -> Any:
        xp = self.xp
        ones = xp.ones(self.targets.shape, dtype=logits.dtype)
        weights = ones if self.weights is None else xp.astype(self.weights, logits.dtype)
        weights = weights / xp.sum(weights)
        shifted = logits - xp.max(logits, axis=-1, keepdims=True)
        log_p = shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
        hot = xp.astype(self.targets[..., None] == xp.arange(logits.shape[-1]), logits.dtype)
        right = xp.astype(xp.argmax(logits, axis=-1) == self.targets, logits.dtype)
        self.value = float(-xp.sum(weights[..., None] * hot * log_p))
        self.accuracy = float(xp.sum(weights * right))
        return weights[..., None] * (xp.exp(log_p) - hot)


class PooledCrossEntropy:
    """Mean cross entropy of the mean of the visible tokens' logits: a linear classifier of the mean
    of the last activations.

    targets: integers, shape (batch,); mask: bool, shape (batch, n), every row with a True.
    """

    def __init__(self, targets: Any, mask: Any, xp: Any) -> None:
        self.inner, self.mask, self.xp = CrossEntropy(targets, xp), mask, xp

    def __call__(self, logits: Any) -> Any:
        xp, share = self.xp, self.xp.astype(self.mask, logits.dtype)
        share = (share / xp.sum(share, axis=-1, keepdims=True))[..., None]
        return share * self.inner(xp.sum(share * logits, axis=-2))[..., None, :]

    @property
    def value(self) -> float:
        return self.inner.value

    @property
    def accuracy(self) -> float:
        return self.inner.accuracy


class Adam:
    """Adam (Kingma & Ba 2015, Algorithm 1; wording unverified)."""

    def __init__(
        self, rate: float, first: float = 0.9, second: float = 0.99, epsilon: float = 1e-8
    ) -> None:
        self.rate, self.first, self.second, self.epsilon = rate, first, second, epsilon
        self.step, self.mean, self.square = 0, dict[str, Any](), dict[str, Any]()

    def update(self, values: Mapping[str, Any], slopes: Mapping[str, Any]) -> dict[str, Any]:
        self.step += 1
        out = {}
        for name, g in slopes.items():
            self.mean[name] = self.first * self.mean.get(name, 0 * g) + (1 - self.first) * g
            self.square[name] = (
                self.second * self.square.get(name, 0 * g) + (1 - self.second) * g * g
            )
            mean = self.mean[name] / (1 - self.first**self.step)
            square = self.square[name] / (1 - self.second**self.step)
            out[name] = values[name] - self.rate * mean / (square**0.5 + self.epsilon)
        return out


class Batch(NamedTuple):
    """Integers, shape (batch, n), which of them may be attended to (None: all), and the loss of the
    output.
    """

    x: Any
    key_mask: Any
    loss: Any


def fit(
    model: Transformer,
    method: Any,
    batches: Iterator[Batch],
    measure: Callable[[Transformer], dict[str, Any]],
    rng: np.random.Generator,
    *,
    steps: int,
    every: int,
    rate: float,
    decay: bool = False,
) -> tuple[Run, Transformer]:
    """Train; return the curves, measured every so many steps, the training losses, and the model.
    decay: the rate falls linearly to 0.
    """
    adam, losses, curve, seconds = Adam(rate), [], [], 0.0
    for step in range(steps + 1):
        if step % every == 0:
            curve.append({"step": step, **measure(model)})
        if step == steps:
            break
        started = time.process_time()
        x, key_mask, loss = next(batches)
        if decay:
            adam.rate = rate * (1 - step / steps)
        slopes = gradient(model, x, loss, method, key_mask=key_mask, rng=rng, certify=False).model
        model = with_parameters(model, adam.update(parameters(model), parameters(slopes)))
        losses.append(loss.value)
        seconds += time.process_time() - started
    return {"held out": curve, "training": losses, "seconds": seconds}, model


def student(values: Any) -> tuple[float, float]:
    """Return the mean and half the width of its 95 % interval by Student's distribution; nan for a
    single value.
    """
    from scipy.stats import t

    count = len(values)
    spread = float(np.std(values, ddof=1)) if count > 1 else math.nan
    return float(np.mean(values)), float(t.ppf(0.975, max(1, count - 1))) * spread / math.sqrt(
        count
    )


def against_exact(runs: Mapping[str, list[Run]], quantity: str) -> dict[str, dict[str, float]]:
    """Return, for each method, the mean of a quantity after the last step and its difference to
    "exact", paired seed by seed, with 95 % intervals.
    """
    final = {name: np.array([r["held out"][-1][quantity] for r in rs]) for name, rs in runs.items()}
    out = {}
    for name, values in final.items():
        (mean, half), (gap, gap_half) = student(values), student(values - final["exact"])
        out[name] = {
            quantity: mean,
            "half width": half,
            "difference to exact": gap,
            "half width of the difference": gap_half,
        }
    return out


def picture(runs: Mapping[str, list[Run]], quantity: str, label: str, path: Path) -> None:
    """Draw the held-out curves: one colour a method, a thin line a seed, a thick one their mean."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context({"svg.hashsalt": "approxattn"}):
        figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
        for i, (name, rs) in enumerate(runs.items()):
            steps = [p["step"] for p in rs[0]["held out"]]
            curves = np.array([[p[quantity] for p in r["held out"]] for r in rs])
            axes.plot(steps, curves.T, color=f"C{i}", alpha=0.35, linewidth=0.7)
            axes.plot(steps, curves.mean(axis=0), color=f"C{i}", linewidth=1.8, label=name)
        axes.set(xlabel="step", ylabel=label, title="thin: one seed; thick: mean over the seeds")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def experiment(
    description: str,
    settings: Mapping[str, Any],
    methods: Mapping[str, Any],
    train: Callable[[Any, Any, int, Any], Run],
    arguments: Sequence[str] | None,
) -> tuple[argparse.Namespace, dict[str, list[Run]], dict[str, Any]]:
    """Read the command line, train every method with every seed, and return the choices made, the
    runs by method, and what a result file begins with.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setting", choices=settings, default="tiny")
    parser.add_argument(
        "--seeds", type=int, default=None, help="how many; the setting's number if not given"
    )
    parser.add_argument("--library", default="numpy", help="numpy or cupy")
    parser.add_argument(
        "--methods",
        default="all",
        help="names separated by semicolons, or all; exact always runs",
    )
    parser.add_argument(
        "--out", type=Path, default=None, help="folder for the JSON file and the picture"
    )
    chosen = parser.parse_args(arguments)
    setting, xp = (
        settings[chosen.setting],
        importlib.import_module(f"array_api_compat.{chosen.library}"),
    )
    named = methods if chosen.methods == "all" else [m.strip() for m in chosen.methods.split(";")]
    unknown = [m for m in named if m not in methods]
    if unknown:
        parser.error(f"--methods has {unknown}: choose from {'; '.join(methods)}")
    runs: dict[str, list[Run]] = {name: [] for name in dict.fromkeys(("exact", *named))}
    with threadpool_limits(1):
        for seed in range(chosen.seeds or setting.seeds):
            for name, done in runs.items():
                done.append(train(methods[name], setting, seed, xp))
                print(f"seed {seed}, {name}: {rounded(done[-1]['held out'][-1])}", flush=True)
    head = {
        "setting": {"name": chosen.setting, **vars(setting), "seeds": len(runs["exact"])},
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "library": chosen.library,
        },
        "methods": {name: repr(methods[name]) for name in runs},
    }
    return chosen, runs, head


def save(result: Mapping[str, Any], folder: Path, name: str) -> None:
    """Write a result as JSON, floats to six digits."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(
        json.dumps(rounded(result), indent=1) + "\n", encoding="utf-8"
    )


def rounded(x: Any) -> Any:
    """Round floats to six digits, for a file that can be read."""
    if isinstance(x, float):
        return float(f"{x:.6g}")
    if isinstance(x, Mapping):
        return {k: rounded(v) for k, v in x.items()}
    return [rounded(v) for v in x] if isinstance(x, list | tuple) else x
