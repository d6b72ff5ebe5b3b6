"""Linformer: how often its claims come true, spectra of real heads, and what it saves."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from approxattn.data import minilm_heads
from approxattn.softmax.scores import row_softmax
from proofs_check.figures.record import Axis, Figure, Mark, Panel, Printed, Series
from proofs_check.papers.shared.gaussian_projection import claimed_success, relative_success

HALF = Fraction(1, 2)

_SEED = 11


def linformer_success(tiny: bool = False) -> Figure:
    """Claimed and true probability of success of both theorems, by k, for the constructions."""
    from flint import arb

    from proofs_check.papers.wang_2020.theorem_2 import true_success

    n = 512
    k = list(range(16, 513, 124 if tiny else 4))
    claimed = [max(0.0, float(claimed_success(x, HALF, events=n).mid())) for x in k]
    first = [min(1.0, float(relative_success(x, HALF, arb(0.01)).mid())) for x in k]
    second = [float(true_success(n, x, arb(1) / n).mid()) for x in k]
    paper_k = math.ceil(5 * math.log(n) / (1 / 4 - 1 / 8))
    at_paper = float(true_success(n, paper_k, arb(1) / n).mid())
    at_claim = float(claimed_success(paper_k, HALF, events=n).mid())
    return Figure(
        name="linformer-success",
        title="How often Linformer's theorems come true",
        claims=("linformer.theorem-1", "linformer.theorem-2"),
        caption="Probability of an error within ε = 1/2, n = 512: exact, for the constructions "
        "of the catalogue: equal scores, and "
        "values of mean 1/100 (Theorem 1) or 1 (Theorem 2). Where the claim is above the truth "
        f"the theorem fails; at the paper's own k = 5 ln n / (ε² - ε³) = {paper_k} as well.",
        panels=(
            Panel(
                x=Axis(label="k, rows of the projection"),
                y=Axis(label="probability"),
                series=(
                    Series(label="claimed, at least", x=k, y=claimed, kind="dashed"),
                    Series(label="Theorem 1, at most", x=k, y=first),
                    Series(label="Theorem 2, exact", x=k, y=second),
                ),
                marks=(Mark(text=f"k = {paper_k}", x=float(paper_k)),),
            ),
        ),
        printed=(
            Printed(
                what=f"Theorem 2, k = {paper_k}",
                source=f"at least {at_claim:.3f}",
                ours=f"{at_paper:.1e}",
            ),
        ),
        facts={"claimed at k": at_claim, "true at k": at_paper, "ceiling": max(second)},
    )


def spectra(tiny: bool = False) -> Figure:
    """Singular values of the attention matrices of the shipped heads."""
    heads = minilm_heads()
    n = 48 if tiny else 256
    share, series = [], []
    for layer in range(heads.q.shape[0]):
        for head in range(heads.q.shape[1]):
            q, k = (np.asarray(x[layer, head, :n], np.float64) for x in (heads.q, heads.k))
            values = np.linalg.svd(_weights(q, k), compute_uv=False)
            total = np.cumsum(values) / np.sum(values)
            share.append(float(total[n // 4 - 1]))
            label = f"layer {layer + 1} of the four" if head == 0 else ""
            series.append((label, layer, values, total))
    x = np.arange(1, n + 1)
    left = tuple(Series(label=a, x=x, y=v, colour=c) for a, c, v, _ in series)
    right = tuple(Series(label="", x=x / n, y=t, colour=c) for _, c, _, t in series)
    return Figure(
        name="spectra",
        title="Singular values of eight real attention matrices",
        claims=("ours.eckart-young", "ours.polynomial-rank-bound", "linformer.rank-of-exponential"),
        caption=f"n = {n}. On the right the share of the sum of singular values up to an index, "
        f"as Figure 1 "
        "of Linformer shows it for 512 tokens of another encoder. A quarter of the values holds "
        f"{min(share):.2f} to {max(share):.2f} of the sum here.",
        panels=(
            Panel(
                x=Axis(label="index"),
                y=Axis(label="singular value", log=True, limits=(1e-12, 30)),
                series=left,
            ),
            Panel(
                x=Axis(label="index / n"),
                y=Axis(label="cumulative share", limits=(0, 1.02)),
                series=right,
                marks=(Mark(text="n / 4", x=0.25),),
            ),
        ),
        of_paper="Linformer, Figure 1 (left): normalised cumulative singular values",
        facts={"least share": min(share), "largest share": max(share)},
    )


def _weights(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    return np.asarray(row_softmax(q @ k.T / math.sqrt(q.shape[1]), np))


def linformer_savings(tiny: bool = False) -> Figure:
    """Operations and memory saved by a projection to k rows, counted: Table 3 of the paper."""
    import approxattn as aa

    d = 64
    n = [512, 2048] if tiny else [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
    series: list[Series] = []
    facts: dict[str, float] = {}
    for i, k in enumerate((128, 256) if tiny else (128, 256, 512, 1024, 2048)):
        sizes = [m for m in n if m >= 2 * k]
        method = aa.Linformer(rank=k, sketch="mean-pool")
        ratio = [
            aa.Exact().cost(m, m, d, d).multiply_adds / method.cost(m, m, d, d).multiply_adds
            for m in sizes
        ]
        series.append(Series(label=f"k = {k}", x=sizes, y=ratio, colour=i))
        facts |= {f"n = {m}, k = {k}": r for m, r in zip(sizes, ratio, strict=True)}
    return Figure(
        name="linformer-savings",
        title="What k pooled keys save",
        claims=("code.cost-linformer-mean-pool", "code.cost-exact"),
        caption="Multiply-adds of exact attention over those of k pooled keys, d = 64. Counted, "
        "not timed: attention alone, without the projections of the layer. Table "
        "3 of the paper has times of whole models on a GPU, which cannot be redrawn here.",
        panels=(
            Panel(
                x=Axis(label="n", log=True, base=2),
                y=Axis(label="exact / pooled", log=True),
                series=tuple(series),
            ),
        ),
        of_paper="Linformer, Table 3 (left), in operations",
        facts=facts,
    )


def range_finder(tiny: bool = False) -> Figure:
    """Spectral error of a randomised range finder by rank, beside the best rank and the bound."""
    heads, n, extra = minilm_heads(), 48 if tiny else 256, 5
    q, k = (np.asarray(x[2, 0, :n], np.float64) for x in (heads.q, heads.k))
    a = _weights(q, k)
    values = np.linalg.svd(a, compute_uv=False)
    ranks = [2, 8] if tiny else [2, 4, 8, 16, 32, 64, 128]
    rng = np.random.default_rng(_SEED)
    mean = [
        float(np.mean([_found(a, rank + extra, rng) for _ in range(3 if tiny else 20)]))
        for rank in ranks
    ]
    bound = [_spectral_bound(values, rank, extra) for rank in ranks]
    best = [float(values[rank]) for rank in ranks]
    return Figure(
        name="range-finder",
        title="A randomised range finder on a real attention matrix",
        claims=("hmt.spectral", "ours.eckart-young"),
        caption=f"n = {n}, {extra} columns more than the rank: the mean spectral error, the bound "
        "on its expectation (Theorem 10.6 of Halko, Martinsson and Tropp), and the best that any "
        "matrix of that rank does.",
        panels=(
            Panel(
                x=Axis(label="rank r", log=True, base=2),
                y=Axis(label="spectral norm of the error", log=True),
                series=(
                    Series(label="bound", x=ranks, y=bound),
                    Series(label="mean error", x=ranks, y=mean, kind="rings"),
                    Series(label="least of rank r", x=ranks, y=best, kind="dashed"),
                ),
            ),
        ),
        seed=_SEED,
        of_paper="Halko, Martinsson and Tropp, figures of error against rank",
        facts={"largest share": max(m / b for m, b in zip(mean, bound, strict=True))},
    )


def _found(a: np.ndarray, columns: int, rng: np.random.Generator) -> float:
    """Return |(1 - Q Q^T) A| for an orthonormal basis Q of A times a Gaussian matrix."""
    basis, _ = np.linalg.qr(a @ rng.standard_normal((a.shape[1], columns)))
    return float(np.linalg.norm(a - basis @ (basis.T @ a), 2))


def _spectral_bound(values: np.ndarray, r: int, p: int) -> float:
    rest = math.sqrt(float(np.sum(values[r:] ** 2)))
    return float((1 + math.sqrt(r / (p - 1))) * values[r] + math.e * math.sqrt(r + p) / p * rest)
