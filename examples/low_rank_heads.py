"""Low-rank methods on the heads of a trained model: median relative error per method, written as a
table in Markdown.

    python examples/low_rank_heads.py                                   # the eight heads that ship
        with the package
    python examples/low_rank_heads.py heads.npz --out table.md --plot plot.svg  # arrays q, k, v of
        shape (layers, heads, n, d)

The error is the Frobenius norm of the difference over that of the exact output, in float64, one
number a head; random methods are the mean of three draws. Every column of the table is the median
over the heads of a layer or over all heads. Cost is in multiply-adds, forward, over those of exact
attention, by the formulas of `approxattn.diagnosis.equal_cost` with the parameters given here; at
large n it falls like 1/n, except for what is fitted to exact rows. The trivial outputs and the
truncated singular values tell what the numbers are worth.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import approxattn as aa
from approxattn import sketching
from approxattn.data import minilm_heads
from approxattn.diagnosis import singular_values as oracles
from approxattn.diagnosis.comparison import Trial
from approxattn.diagnosis.cost_figure import draw_costs
from approxattn.diagnosis.files import read_qkv

Array = npt.NDArray[np.float64]
DRAWS = 3


def methods(n: int) -> dict[str, Any]:
    """Return the methods by name; ranks as fractions of the length n, n/4 being 128 of 512."""
    table: dict[str, Any] = {}
    for k in (n // 8, n // 4, n // 2):
        table[f"Linformer, Gaussian, k = {k}"] = aa.Linformer(rank=k)
    table[f"Linformer, paper's delta, k = {n // 4}"] = aa.Linformer(rank=n // 4, delta=1e-6)
    table[f"Linformer, signs, k = {n // 4}"] = aa.Linformer(rank=n // 4, sketch="rademacher")
    table[f"Linformer, CountSketch, k = {n // 4}"] = aa.Linformer(
        rank=n // 4, sketch="count-sketch"
    )
    table[f"Linformer, row sample, k = {n // 4}"] = aa.Linformer(rank=n // 4, sketch="row-sample")
    table[f"Linformer, largest entries, k = {n // 4}"] = aa.Linformer(
        rank=n // 4, sketch="max-pool"
    )
    for k in (n // 8, n // 4, n // 2):
        table[f"Linformer, means, k = {k}"] = aa.Linformer(rank=k, sketch="mean-pool")
    for k in (n // 16, n // 8, n // 4):
        table[f"means with fitted values, k = {k}, {4 * k} exact rows"] = aa.FittedLinformer(rank=k)
    for heavy, share in ((0, 8), (n // 16, 32), (n // 8, 16), (3 * n // 16, 8), (n // 4, 8)):
        blocks = 1 << (max(n // share, 1).bit_length() - 1)  # a power of two
        groups = blocks if heavy else 1
        name = (
            f"{heavy} heavy keys, {blocks} means, {groups} query blocks"
            if heavy
            else f"{blocks} means of similar keys"
        )
        table[name] = aa.Clustered(heavy=heavy, key_blocks=blocks, query_blocks=groups)
    for g in (2, 4):
        table[f"fitted polynomial, degree {g}"] = aa.FittedPolynomial(degree=g)
    for k in (n // 8, n // 4, n // 2):
        table[f"Nystrom, {k} landmarks, 6 iterations"] = aa.Nystrom(landmarks=k)
    table[f"Nystrom, {n // 8} landmarks, 20 iterations"] = aa.Nystrom(
        landmarks=n // 8, iterations=20
    )
    table[f"Nystrom, {n // 8} landmarks, rcond 0.01"] = aa.Nystrom(landmarks=n // 8, rcond=1e-2)
    for m in (n // 2, 2 * n):
        table[f"Performer, {m} features"] = aa.Performer(features=m)
        table[f"Performer, {m} hyperbolic features"] = aa.Performer(features=m, kind="hyperbolic")
    return table


def cost(method: Any, n: int, d: int) -> float:
    """Return the multiply-adds of a method over those of exact attention, n tokens, keys and values
    of width d.
    """
    token: float
    match method:
        case aa.Linformer(rank=int(rank), sketch=sketch):
            combining = {"mean-pool": 1, "max-pool": 1, "count-sketch": 1, "row-sample": 0}.get(
                sketch, rank
            )
            token = (rank + combining) * 2 * d
        case aa.FittedLinformer():
            rows = min(4 * method.rank, n)
            token = (method.rank + 1) * 2 * d + rows * (
                n * 2 * d + method.rank * (2 * d + method.rank)
            ) / n
        case aa.Clustered():
            levels = 12 * d * (math.log2(method.key_blocks) + math.log2(method.query_blocks))
            token = (
                (method.heavy + method.key_blocks) * 2 * d
                + (method.query_blocks * d if method.heavy else 0)
                + levels
            )
        case aa.FittedPolynomial():
            token = (
                2 * math.comb(d + method.degree, method.degree) * (d + 2)
                + min(method.rows, n) * 2 * d
            )
        case aa.Nystrom():
            inner = (
                method.landmarks**2 * d
                + (4 * method.iterations if method.rcond is None else 12) * method.landmarks**3
            )
            token = 2 * method.landmarks * 2 * d + inner / n
        case aa.Performer():
            token = 2 * method.features * (2 * d + 1)
        case _:
            return math.nan
    return float(token / (n * 2 * d))


def errors_of(compute: Callable[[np.random.Generator], Array], exact: Array, draws: int) -> Array:
    """Return the relative error of each head, the mean over the draws."""
    norm = np.linalg.norm(exact, axis=(-2, -1))
    runs = [
        np.linalg.norm(compute(np.random.default_rng(i)) - exact, axis=(-2, -1)) / norm
        for i in range(draws)
    ]
    return np.asarray(np.mean(runs, axis=0))


def rows(q: Array, k: Array, v: Array) -> Iterator[tuple[str, Array]]:
    """Yield the name and the errors, shape (layers, heads), of each method."""
    exact = aa.attention(q, k, v, aa.Exact()).value
    yield "zero output", np.ones(q.shape[:-2])
    yield (
        "mean of v",
        errors_of(lambda _: np.broadcast_to(v.mean(axis=-2, keepdims=True), exact.shape), exact, 1),
    )
    for name, method in methods(q.shape[-2]).items():

        def compute(rng: np.random.Generator, method: Any = method) -> Array:
            return np.asarray(aa.attention(q, k, v, method, rng=rng).value)

        yield name, errors_of(compute, exact, DRAWS if method.randomised else 1)
    yield from floors(q, k, v)


def floors(q: Array, k: Array, v: Array) -> Iterator[tuple[str, Array]]:
    """Yield what needs the n x n weights: the sketched product, predicted and measured, and
    truncated singular values.
    """
    n, d = q.shape[-2:]
    ranks = (n // 16, n // 8, n // 4)
    predicted, measured, by_norm, by_leverage = (np.empty(q.shape[:-2]) for _ in range(4))
    truncated = np.empty((len(ranks), *q.shape[:-2]))
    for index in np.ndindex(*q.shape[:-2]):
        w = np.exp((s := q[index] @ k[index].T / np.sqrt(d)) - s.max(axis=1, keepdims=True))
        p, own = w / w.sum(axis=1, keepdims=True), v[index]
        size = float(np.linalg.norm(p @ own))
        predicted[index] = np.sqrt(sketching.second_moment("gaussian", n // 4, p, own)) / size
        r = sketching.gaussian(n, n // 4, np.random.default_rng(0))
        measured[index] = np.linalg.norm(r.apply(p.T).T @ r.apply(own) - p @ own) / size
        best = sketching.norm_probabilities(np.linalg.norm(p, axis=0), np.linalg.norm(own, axis=1))
        rows_of_p = sketching.weighted_rows(best, n // 4, np.random.default_rng(0))
        by_norm[index] = (
            np.linalg.norm(rows_of_p.apply(p.T).T @ rows_of_p.apply(own) - p @ own) / size
        )
        leverage = (
            0.5 * sketching.leverage_probabilities(own) + 0.5 / n
        )  # mixed with uniform: a row without leverage still counts
        by_leverage[index] = (
            np.sqrt(sketching.second_moment("rows", n // 4, p, own, probabilities=leverage)) / size
        )
        truncated[(slice(None), *index)] = oracles.output_errors(p, own)[list(ranks)]
    yield f"sketched product, Gaussian, k = {n // 4}", measured
    yield "the same, as its second moment predicts", predicted
    yield f"sampled product, by norms of columns and rows, k = {n // 4}", by_norm
    yield f"sampled product, by leverage and uniformly, k = {n // 4}, predicted", by_leverage
    for rank, found in zip(ranks, truncated, strict=True):
        yield f"singular values, rank {rank} (oracle)", found


def table(q: Array, k: Array, v: Array, names: list[str]) -> tuple[str, list[Trial]]:
    """Return the table, and its lines as points of a plot."""
    layers, heads, n, d = q.shape
    lines = [
        (
            f"{layers * heads} heads of all-MiniLM-L6-v2 on the CC0-1.0 legal code, n = {n}, d = "
            f"{d}. Relative error in the Frobenius norm,"
        ),
        (
            "median over heads; random methods are the mean of three draws. Made by "
            "`examples/low_rank_heads.py`."
        ),
        "",
        "| method | " + " | ".join(names) + " | all heads | worst head | cost |",
        "|" + "---|" * (layers + 4),
    ]
    trials, tried = [], methods(n)
    for name, errors in rows(q, k, v):
        by_layer = [f"{x:.3g}" for x in np.median(errors, axis=1)]
        method, median = tried.get(name), float(np.median(errors))
        price = cost(method, n, d)
        shown = f"{price:.2g}" if math.isfinite(price) else ""
        lines.append(
            f"| {name} | "
            + " | ".join(by_layer)
            + f" | **{median:.3g}** | {errors.max():.3g} | {shown} |"
        )
        if method is not None or name == "mean of v":
            trials.append(
                Trial(name=name, method=method, cost=price, crossover=math.nan, error=median)
            )
    return "\n".join(lines) + "\n", trials


def main() -> None:
    """Read the heads and print or write the table."""
    parser = argparse.ArgumentParser(
        description="Median relative error of low-rank methods on real heads."
    )
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        help="arrays q, k, v of shape (layers, heads, n, d); the shipped heads if not given",
    )
    parser.add_argument("--out", type=Path, help="file to write; standard output if not given")
    parser.add_argument("--plot", type=Path, help="file for a drawing of error against cost, SVG")
    options = parser.parse_args()
    if options.file is None:
        found = minilm_heads()
        arrays, names = (found.q, found.k, found.v), [f"layer {layer}" for layer in found.layers]
    else:
        arrays = read_qkv(options.file)
        names = [f"layer {layer}" for layer in range(arrays[0].shape[0])]
    q, k, v = (x.astype(np.float64) for x in arrays)
    text, trials = table(q, k, v, names)
    if options.plot is not None:
        ax = draw_costs(tuple(trials), None)
        ax.set_title(f"{q.shape[0] * q.shape[1]} heads, n = {q.shape[2]}", loc="left")
        ax.figure.savefig(options.plot, metadata={"Date": None})
    if options.out is None:
        print(text, end="")
    else:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
