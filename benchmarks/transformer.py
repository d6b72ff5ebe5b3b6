"""Time and memory of the approximate gradient of a transformer, beside automatic differentiation
through exact attention.

    ./run.sh bench transformer              # or: python benchmarks/transformer.py --longest 18
        --json FILE

float32, four residual layers of one head of width 8 and a perceptron of width 16 (tanh), polynomial
attention of degree 4, all weights and the input differentiated, with the plug-in gradient; beside
PyTorch also with the consistent one, which needs no features of degree 5. All times are processor
times of one process on one thread, the smallest of a few runs, after one that is not timed. What is
timed is `gradient(..., certify=False)`; with its certificate it is a second line. Goals stand in
brackets.

The other side is PyTorch's automatic differentiation through its own
`scaled_dot_product_attention`, the same weights and input; skipped where PyTorch is absent.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import platform
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

import approxattn as aa
from approxattn.transformer import (
    Layer,
    Mlp,
    Residual,
    SelfAttention,
    Transformer,
    gradient,
    parameters,
)
from approxattn.transformer.forward import run_layer
from approxattn.transformer.sight import Sight

Array = npt.NDArray[np.float32]

D, DEGREE, LAYERS, HIDDEN = 8, 4, 4, 16
METHOD, CONSISTENT = (
    aa.Polynomial(degree=DEGREE, basis="taylor", gradient=kind)
    for kind in ("plug-in", "consistent")
)
SLOPE, SPEED, MEMORY, BESIDE = 0.05, 20, 1.5, 32768
MIB = 2**20


def model(layers: int = LAYERS) -> Transformer:
    """Return layers with scores in [-2, 2] or so."""
    rng = np.random.default_rng(layers)

    def drawn(*shape: int) -> Array:
        return (0.5 * rng.standard_normal(shape) / math.sqrt(shape[-2])).astype(np.float32)

    def layer() -> Layer:
        wq, wk, wv = (drawn(1, D, D) for _ in range(3))
        mlp = Mlp(w1=drawn(D, HIDDEN), w2=drawn(HIDDEN, D), activation="tanh")
        attention = SelfAttention(wq=wq, wk=wk, wv=wv, wo=drawn(D, D))
        return Layer(attention=attention, residual=True, then=(Residual(maps=(mlp,)),))

    return Transformer(layers=tuple(layer() for _ in range(layers)))


def tokens(n: int) -> tuple[Array, Array]:
    """Draw X and dL/dT_m."""
    x, g = np.random.default_rng(n).uniform(-1, 1, (2, n, D)).astype(np.float32)
    return x, g


def task(
    n: int, layers: int = LAYERS, method: aa.Polynomial = METHOD, **options: Any
) -> Callable[[], Any]:
    """Return the gradient to be measured."""
    x, g = tokens(n)
    return partial(gradient, model(layers), x, g, method, **({"certify": False} | options))


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the smallest processor time of a few runs after one that is not timed."""
    times = []
    for turn in range(repeats + 1):
        start = time.process_time()
        work()
        spent = time.process_time() - start
        times += [spent] if turn else []
    return min(times)


def slope(sizes: list[int], times: list[float]) -> dict[str, float]:
    """Return the least-squares slope of log time against log size and its 95 % interval (Student,
    from the residuals).
    """
    from scipy.stats import t as student

    x, y = np.log(sizes), np.log(times)
    x = x - x.mean()
    fit = float(x @ y / (x @ x))
    free = len(sizes) - 2
    spread = math.sqrt(float(np.sum((y - y.mean() - fit * x) ** 2)) / max(free, 1) / float(x @ x))
    margin = float(student.ppf(0.975, free)) * spread if free > 0 else math.inf
    return {"slope": fit, "low": fit - margin, "high": fit + margin}


def in_n(longest: int, repeats: int) -> dict[str, Any]:
    """Return the exponent in n from 2^12 on; short sequences are repeated more often."""
    sizes = [2**k for k in range(12, longest + 1)]
    times = [seconds(task(n), max(repeats, min(20, 2**16 // n))) for n in sizes]
    return slope(sizes, times) | {"tokens": sizes, "seconds": times}


def in_layers(n: int, repeats: int) -> dict[str, Any]:
    """Return the exponent in the number of layers."""
    counts = [1, 2, 4, 8]
    times = [seconds(task(n, m), repeats) for m in counts]
    return slope(counts, times) | {"tokens": n, "layers": counts, "seconds": times}


def in_torch(net: Transformer, x: Array, g: Array, torch: Any) -> dict[str, Array]:
    """Return dL/dX and the gradients of the weights by automatic differentiation."""
    functional = torch.nn.functional
    leaves = {name: torch.tensor(p, requires_grad=True) for name, p in parameters(net).items()}
    there = torch.tensor(x, requires_grad=True)
    y = there
    for i in range(len(net.layers)):
        q, k, v = (y[None] @ leaves[f"layers.{i}.attention.w{s}"] for s in "qkv")  # (1, n, D)
        y = (
            y
            + functional.scaled_dot_product_attention(q[None], k[None], v[None])[0, 0]
            @ leaves[f"layers.{i}.attention.wo"]
        )
        w1, w2 = (leaves[f"layers.{i}.then.0.maps.0.{name}"] for name in ("w1", "w2"))
        y = y + torch.tanh(y @ w1) @ w2
    y.backward(torch.tensor(g))
    return {name: p.grad.numpy() for name, p in leaves.items()} | {"x": there.grad.numpy()}


def beside_torch(n: int, repeats: int) -> dict[str, float] | str:
    """Return both times and how far the gradients are from each other, largest entry against
    largest entry.
    """
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        return "torch is not installed: skipped"
    torch.set_num_threads(1)
    (x, g), net = tokens(n), model()
    own, theirs = gradient(net, x, g, METHOD, certify=False), in_torch(net, x, g, torch)
    pairs: list[tuple[Any, Array]] = [(own.dx, theirs["x"])]
    pairs += [(p, theirs[name]) for name, p in parameters(own.model).items()]
    apart = max(float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in pairs)
    plug_in, consistent = (
        seconds(task(n, method=method), repeats) for method in (METHOD, CONSISTENT)
    )
    other = seconds(partial(in_torch, net, x, g, torch), max(1, repeats // 3))
    return {
        "tokens": n,
        "plug-in": plug_in,
        "consistent": consistent,
        "torch": other,
        "apart": apart,
    }


def traced(work: Callable[[], object]) -> tuple[int, int]:
    """Return the bytes held at the end, its result included, and at the worst moment, beyond what
    was there before.
    """
    tracemalloc.start()
    kept = work()
    held, worst = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return held, worst


def activations(n: int) -> int:
    """Return the bytes of what a gradient must have at one time: what the forward pass leaves in
    every layer, and the results dL/dT_0, ..., dL/dT_m.
    """
    net, (x, _) = model(), tokens(n)

    def through() -> list[Any]:
        runs, y = [], x
        for layer in net.layers:
            runs.append(run_layer(layer, y, METHOD, Sight(), None))
            y = runs[-1].then.value
        return runs

    return traced(through)[0] + (LAYERS + 1) * x.nbytes


def memory(sizes: list[int]) -> list[dict[str, float]]:
    """Return bytes a token at the worst moment, against the activations, certificate or not, and
    with every layer run twice.
    """
    rows = []
    for n in sizes:
        kept = activations(n)
        row: dict[str, float] = {"tokens": n, "activations": kept / n}
        for name, certify, recompute in (
            ("peak", False, False),
            ("certified", True, False),
            ("recomputed", False, True),
        ):
            row[name] = traced(task(n, certify=certify, recompute=recompute))[1] / n
        rows.append(row)
    return rows


def operations(sizes: list[int]) -> list[dict[str, int]]:
    """Return the multiplications of matrix products, counted and by the formula."""
    return [{"tokens": n, "counted": counted(n), "formula": formula(n)} for n in sizes]


def counted(n: int) -> int:
    """Return the multiplications of matrix products in the gradient, counted while it runs on
    counting arrays.
    """
    from approxattn.transformer import with_parameters
    from proofs_check.arithmetic.counting import Tally

    tally, net, arrays = Tally(), model(), tokens(n)
    net = with_parameters(net, {name: tally.array(p) for name, p in parameters(net).items()})
    x, g = (tally.array(y) for y in arrays)
    gradient(net, x, g, METHOD, certify=False)
    return tally.products


def formula(n: Any, d: Any = D, layers: Any = LAYERS, degree: int = DEGREE) -> Any:
    """Return what `counted` must be, for numbers or symbols: tokens and heads of width d,
    perceptrons of width 2 d.

    A layer: 12 n d^2 for the projections, 14 n d^2 for the perceptron (its first product is made
    again on the way back), and what code.cost-polynomial-plug-in says for the attention forward and
    back, with features of both degree and degree + 1.
    """
    from proofs_check.papers.our_code.cost import COSTS

    (cost,) = (c for c in COSTS if c.name == "polynomial-plug-in")
    assert cost.gradient is not None  # noqa: S101 - it has one
    settings = {"degree": degree, "basis": METHOD.basis}
    own = sum(work.products(n, d, d, settings) for work in (cost.forward, cost.gradient))
    return layers * (26 * n * d**2 + own)


def regime() -> dict[str, Any]:
    """Return the exponent of n in the formula with d = log2 n, in the limit (SymPy) and at finite
    n.
    """
    logs = [10, 15, 20, 30, 40, 60, 80, 100, 200, 400, 1000]
    finite = {g: [float(_exponent(t, g)) for t in logs] for g in (2, 4, 6)}
    try:
        sympy = importlib.import_module("sympy")
    except ModuleNotFoundError:
        return {"log2 n": logs, "exponents": finite, "limit": "sympy is not installed: skipped"}
    t = sympy.symbols("t", positive=True)  # log2 n
    limit = sympy.limit(
        sympy.log(formula(2**t, t, LAYERS, DEGREE)) / (t * sympy.log(2)), t, sympy.oo
    )
    return {"log2 n": logs, "exponents": finite, "limit": str(limit)}


def _exponent(t: int, degree: int) -> float:
    """Return log_n of the formula at n = 2^t, d = t."""
    return 1 + math.log2(formula(1, t, LAYERS, degree)) / t


def figure(found: dict[str, Any], path: Path) -> None:
    """Draw the exponent against log2 n."""
    plt = importlib.import_module("matplotlib.pyplot")
    fig, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for g, exponents in found["exponents"].items():
        axes.semilogx(found["log2 n"], exponents, marker="o", label=f"degree {g}")
    axes.axhline(1, color="black", linewidth=0.8, label="limit")
    axes.axhline(
        2,
        color="black",
        linewidth=0.8,
        linestyle=":",
        label="exact attention, but for powers of d",
    )
    axes.axvspan(10, 30, alpha=0.15, label="sequences that fit a machine")
    axes.set_xlabel("log2 n")
    axes.set_ylabel("log_n of the multiplications")
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, metadata={"Date": None})
    plt.close(fig)


def show(report: dict[str, Any]) -> None:
    """Print the figures beside the goals."""
    n, m = report["in n"], report["in layers"]
    print(
        f"time grows like n^{n['slope']:.3f}, 95 % in [{n['low']:.3f}, {n['high']:.3f}] [1.00 +- "
        f"{SLOPE}]; {1e6 * n['seconds'][-1] / n['tokens'][-1]:.1f} us a token"
    )
    print(
        f"and like layers^{m['slope']:.3f}, 95 % in [{m['low']:.3f}, {m['high']:.3f}] [1.00 +- "
        f"{SLOPE}], at {m['tokens']} tokens"
    )
    print(f"with its certificate: {report['certificate']:.2f} times as long")
    other = report["torch"]
    if isinstance(other, str):
        print(other)
    else:
        for kind in ("plug-in", "consistent"):
            print(
                f"n = {other['tokens']}: {kind} {other[kind]:.2f} s, PyTorch {other['torch']:.1f} "
                f"s, {other['torch'] / other[kind]:.1f}x [{SPEED}]; gradients {other['apart']:.1e} "
                "apart"
            )
    for row in report["memory"]:
        peaks = ", ".join(
            f"{name} {row[name] / row['activations']:.2f}x"
            for name in ("peak", "certified", "recomputed")
        )
        print(
            f"memory at n = {row['tokens']}: activations {row['activations']:.0f} bytes a token, "
            f"{peaks} [{MEMORY}]"
        )
    for row in report["operations"]:
        same = "equal" if row["counted"] == row["formula"] else "DIFFERENT"
        print(
            f"multiplications at n = {row['tokens']}: counted {row['counted']:,}, formula "
            f"{row['formula']:,}: {same}"
        )
    at = dict(zip(report["regime"]["log2 n"], report["regime"]["exponents"][DEGREE], strict=True))
    print(
        f"d = log2 n: exponent in the limit {report['regime']['limit']}; {at[20]:.2f} at n = 2^20, "
        f"{at[100]:.2f} at 2^100, {at[1000]:.2f} at 2^1000"
    )


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Read the options, measure, print, write JSON."""
    parser = argparse.ArgumentParser(description="Time the approximate gradient of a transformer.")
    parser.add_argument(
        "--repeats", type=int, default=5, help="runs per figure; the fastest counts"
    )
    parser.add_argument(
        "--longest", type=int, default=18, help="log2 of the longest sequence, from 12 on"
    )
    parser.add_argument(
        "--beside", type=int, default=BESIDE, help="tokens at which PyTorch is timed"
    )
    parser.add_argument(
        "--figure", type=Path, default=None, help="SVG file of the exponents with d = log n"
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("report/bench_transformer.json"),
        help="where the figures go",
    )
    options = parser.parse_args(arguments)
    short = 2 ** min(14, options.longest)
    with threadpool_limits(limits=1):
        report: dict[str, Any] = {
            "machine": platform.processor() or platform.machine(),
            "numpy": np.__version__,
            "in n": in_n(options.longest, options.repeats),
            "in layers": in_layers(short, options.repeats),
            "certificate": seconds(task(short, certify=True), options.repeats)
            / seconds(task(short), options.repeats),
            "torch": beside_torch(options.beside, options.repeats),
            "memory": memory([2 * short, 4 * short]),
            "operations": operations([4096, 8192]),
            "regime": regime(),
        }
    show(report)
    if options.figure is not None:
        figure(report["regime"], options.figure)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"figures: {options.json}")
    return report


if __name__ == "__main__":
    main()
