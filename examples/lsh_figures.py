"""Draw the figures of docs/lsh.md: what hashed attention estimates, how well, and what it costs.

    python examples/lsh_figures.py FOLDER [--seed 0]     # a minute; needs matplotlib (the `plot`
        extra)

collision.svg      weight (1 - theta/pi)^tau of YOSO-E against exp(tau (x - 1)), with the two
    cosines at which they cross for every tau
weights.png        weights of YOSO-E and of YOSO-m for m = 8, 32, 128 on clustered tokens
angle-error.svg    mean angle between the rows of both, against the hashes m and against the tokens
    n, and the relative error against n
bert-lsh-cost.svg  operations of BERT-LSH: the hashing products that are reported, and all that is
    computed, from the facts of the certificates

Figures are written with their numbers, in FOLDER/lsh-figures.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import approxattn as aa

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

CROSSINGS = (-0.889327, 0.720251)
"""Cosines where 1 - arccos(x)/pi = exp(x - 1), other than x = 1."""

COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8a5fbf")


def clustered(n: int, d: int, rng: np.random.Generator, centres: int = 16) -> tuple[Array, Array]:
    """Draw queries and keys around common centres, sorted by centre; the spread is that of a third
    of the centres' length.
    """
    middle = rng.standard_normal((centres, d))
    place = np.sort(rng.integers(0, centres, n))
    q, k = (middle[place] + 0.35 * rng.standard_normal((n, d)) for _ in range(2))
    return q, k


def weights(q: Array, k: Array, method: Any, seed: int) -> Array:
    """Return the weights of a method, n x n: its output for the identity as values."""
    out: Array = aa.attention(q, k, np.eye(len(k)), method, rng=np.random.default_rng(seed)).value
    return out


def save(figure: Figure, path: Path) -> None:
    """Write a figure, the same bytes for the same numbers, and close it."""
    from matplotlib import pyplot as plt

    figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def collision(axes: Axes, bits: int) -> dict[str, float]:
    """Draw both weights against the cosine, and mark where they cross."""
    x = np.cos(np.linspace(0, np.pi, 2001))
    p, e = (1 - np.arccos(x) / np.pi) ** bits, np.exp(bits * (x - 1))
    axes.plot(x, p, color=COLOURS[0], label="collision, (1 - θ/π)^τ")
    axes.plot(x, e, color=COLOURS[1], linestyle="--", label="exp(τ(x - 1))")
    for cross in CROSSINGS:
        axes.axvline(cross, color="0.7", linewidth=0.8)
    axes.plot(CROSSINGS, np.exp(bits * (np.array(CROSSINGS) - 1)), "o", color="black", markersize=4)
    axes.set(title=f"τ = {bits}", xlabel="cosine x", yscale="log", ylim=(1e-7, 1.5))
    return {"largest gap": float(np.abs(p - e).max()), "at": float(x[np.argmax(np.abs(p - e))])}


def collision_figure(folder: Path) -> dict[str, Any]:
    """Write collision.svg."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
    found = {f"tau = {bits}": collision(ax, bits) for ax, bits in zip(axes, (1, 4, 8), strict=True)}
    axes[0].set_ylabel("weight")
    axes[0].legend(loc="lower right", fontsize=8)
    save(figure, folder / "collision.svg")
    return found


def weights_figure(folder: Path, seed: int, n: int = 64, bits: int = 6) -> dict[str, Any]:
    """Write weights.png: the expectation and three estimates, on one scale."""
    from matplotlib import pyplot as plt

    q, k = clustered(n, 32, np.random.default_rng(seed), centres=6)
    exact = weights(q, k, aa.YosoExpectation(bits=bits), seed)
    panels = {"YOSO-E": exact}
    panels |= {
        f"m = {m}": weights(q, k, aa.Yoso(bits=bits, hashes=m), seed + m) for m in (8, 32, 128)
    }
    figure, axes = plt.subplots(1, 4, figsize=(9.4, 2.7), layout="constrained")
    for ax, (name, values) in zip(axes, panels.items(), strict=True):
        image = ax.imshow(values, vmin=0, vmax=1, cmap="viridis")
        ax.set(title=name, xticks=[], yticks=[], xlabel="key")
    axes[0].set_ylabel("query")
    figure.colorbar(image, ax=axes, shrink=0.85, label="weight")
    save(figure, folder / "weights.png")
    return {name: float(np.sqrt(np.mean((values - exact) ** 2))) for name, values in panels.items()}


def errors(
    n: int, hashes: int, bits: int, common: float, seed: int, repeats: int
) -> tuple[float, float]:
    """Return the mean angle between rows of YOSO-m and YOSO-E in radians, and the relative error in
    the Frobenius norm.
    """
    rng = np.random.default_rng([seed, n, hashes])
    angles, relative = [], []
    for _ in range(repeats):
        q, k = clustered(n, 64, rng)
        v = rng.standard_normal((n, 8)) + common
        exact = aa.attention(q, k, v, aa.YosoExpectation(bits=bits)).value
        found = aa.attention(q, k, v, aa.Yoso(bits=bits, hashes=hashes), rng=rng).value
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(exact, axis=1)
        # a row of zeros is at a right angle
        cosine = np.sum(found * exact, axis=1) / np.where(lengths > 0, lengths, 1)
        angles.append(float(np.mean(np.arccos(np.clip(cosine, -1, 1)))))
        relative.append(float(np.linalg.norm(found - exact) / np.linalg.norm(exact)))
    return float(np.mean(angles)), float(np.sqrt(np.mean(np.square(relative))))


def error_figure(folder: Path, seed: int, largest: int, repeats: int) -> dict[str, Any]:
    """Write angle-error.svg."""
    from matplotlib import pyplot as plt
    from matplotlib.ticker import ScalarFormatter

    hashes, tokens = (4, 8, 16, 32, 64, 128), [2**e for e in range(6, largest.bit_length())]
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.2), layout="constrained")
    found: dict[str, Any] = {}
    for n, colour in zip((64, 256, 1024), COLOURS, strict=False):
        line = [errors(n, m, 8, 0.0, seed, repeats)[0] for m in hashes]
        found[f"angle against m, n = {n}"] = dict(zip(hashes, line, strict=True))
        found[f"slope, n = {n}"] = float(np.polyfit(np.log(hashes[2:]), np.log(line[2:]), 1)[0])
        axes[0].plot(hashes, line, "o-", color=colour, markersize=4, label=f"n = {n}")
    axes[0].plot(hashes, 1.6 / np.sqrt(hashes), color="0.6", linestyle=":", label="slope -1/2")
    axes[0].set(xlabel="hashes m", ylabel="mean angle (radians)", title="angle, τ = 8")
    for column, name in ((0, "angle"), (1, "relative error")):
        for common, colour in ((0.0, COLOURS[0]), (1.0, COLOURS[1])):
            line = [errors(n, 32, 8, common, seed, repeats)[column] for n in tokens]
            kind = "values of mean 1" if common else "values of mean 0"
            found[f"{name} against n, {kind}"] = dict(zip(tokens, line, strict=True))
            axes[1 + column].plot(tokens, line, "o-", color=colour, markersize=4, label=kind)
        line = [errors(n, 32, round(np.log2(n)), 1.0, seed, repeats)[column] for n in tokens]
        found[f"{name} against n, values of mean 1, tau = log2 n"] = dict(
            zip(tokens, line, strict=True)
        )
        axes[1 + column].plot(
            tokens, line, "s--", color=COLOURS[2], markersize=4, label="mean 1, τ = log₂ n"
        )
        axes[1 + column].set(xlabel="tokens n", title=f"{name}, m = 32")
    for ax in axes:
        ax.set(xscale="log", yscale="log")
        ax.yaxis.set_minor_formatter(ScalarFormatter())
        ax.yaxis.set_major_formatter(ScalarFormatter())
        ax.tick_params(which="both", labelsize=7)
        ax.legend(fontsize=7)
    save(figure, folder / "angle-error.svg")
    return found


def cost(n: int, d: int, seed: int) -> dict[str, float]:
    """Return operations of BERT-LSH with two bits and one table, in units of those of Q K^T, from
    the facts of its certificate.
    """
    q, k, v = np.random.default_rng([seed, n]).standard_normal((3, n, d))
    product = 2.0 * n * n * d
    dense, sparse = (
        aa.attention(
            q, k, v, aa.BertLSH(fill=-np.inf, sparse=s), rng=np.random.default_rng(seed)
        ).certificate.facts
        for s in (False, True)
    )
    scores = dense["collided fraction"]
    reported = dense["flops of hashing"] / product
    return {
        "reported: hashing": reported,
        "and scores of colliding pairs": reported + scores,
        "and everything else, dense": dense["flops"] / product,
        "everything, colliding pairs only": sparse["flops"] / product,
        "exact attention": (2 * product + 4 * n * n) / product,
    }


def cost_figure(folder: Path, seed: int, d: int = 64) -> dict[str, Any]:
    """Write bert-lsh-cost.svg."""
    from matplotlib import pyplot as plt

    tokens = (4, 6, 10, 16, 32, 64, 128, 256, 512)
    found = {n: cost(n, d, seed) for n in tokens}
    figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for i, name in enumerate(found[tokens[0]]):
        exact = name == "exact attention"
        line = [found[n][name] for n in tokens]
        ax.plot(
            tokens,
            line,
            ":" if exact else "o-",
            color="0.4" if exact else COLOURS[i],
            markersize=4,
            label=name,
        )
    ax.axhline(1, color="0.8", linewidth=0.8)
    ax.axvline(4, color="0.8", linewidth=0.8)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="tokens n (n = 2 K L = 4 at the left edge)",
        ylabel="operations / those of Q Kᵀ",
    )
    ax.set_title("BERT-LSH, K = 2 bits, L = 1 table, Gaussian q and k, d = 64", fontsize=10)
    ax.legend(fontsize=8)
    save(figure, folder / "bert-lsh-cost.svg")
    return {str(n): line for n, line in found.items()}


def main(arguments: list[str] | None = None) -> None:
    """Read the options and draw everything."""
    parser = argparse.ArgumentParser(description="Draw the figures of docs/lsh.md.")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--seed", type=int, default=0, help="all randomness follows from it")
    parser.add_argument("--largest", type=int, default=2048, help="largest n of the errors")
    parser.add_argument(
        "--repeats", type=int, default=3, help="draws behind each point of the errors"
    )
    options = parser.parse_args(arguments)
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "lsh"  # the same file for the same numbers
    options.folder.mkdir(parents=True, exist_ok=True)
    found = {
        "seed": options.seed,
        "collision": collision_figure(options.folder),
        "root mean square error of the weights": weights_figure(options.folder, options.seed),
        "errors": error_figure(options.folder, options.seed, options.largest, options.repeats),
        "BERT-LSH": cost_figure(options.folder, options.seed),
    }
    (options.folder / "lsh-figures.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
