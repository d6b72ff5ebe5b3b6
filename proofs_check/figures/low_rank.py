"""Linformer: how often its claims come true, spectra of real heads; a range finder on one."""

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
_EXTRA = 5
"""Columns of the test matrix beyond the rank. *Chosen*."""


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
        title="How often Linformer's theorems come true, n = 512",
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
                marks=(Mark(text=f"the paper's k = {paper_k}", x=float(paper_k)),),
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
    share, series, names = [], [], []
    for layer in range(heads.q.shape[0]):
        for head in range(heads.q.shape[1]):
            q, k = (np.asarray(x[layer, head, :n], np.float64) for x in (heads.q, heads.k))
            values = np.linalg.svd(_weights(q, k), compute_uv=False)
            total = np.cumsum(values) / np.sum(values)
            share.append(float(total[n // 4 - 1]))
            names.append(f"{heads.layers[layer]}, {heads.heads[head]}")
            label = f"layer {heads.layers[layer]}" if head == 0 else ""
            series.append((label, layer, values, total))
    x = np.arange(1, n + 1)
    left = tuple(Series(label=a, x=x, y=v, colour=c) for a, c, v, _ in series)
    right = tuple(Series(label="", x=x / n, y=t, colour=c) for _, c, _, t in series)
    return Figure(
        name="spectra",
        title="Singular values of eight real attention matrices",
        claims=("ours.eckart-young", "ours.polynomial-rank-bound", "linformer.rank-of-exponential"),
        caption=f"n = {n}. In the middle the share of the sum of singular values up to an index, "
        "as Figure 1 of Linformer shows it for 512 tokens of another encoder; on the right that "
        "share at a quarter of the index, head by head, which its heat map colours: "
        f"{min(share):.2f} to {max(share):.2f}, larger in later layers, as there.",
        panels=(
            Panel(
                x=Axis(label="index"),
                y=Axis(label="singular value", log=True, limits=(1e-10, 30)),
                series=left,
            ),
            Panel(
                x=Axis(label="index / n"),
                y=Axis(label="cumulative share", limits=(0, 1.02)),
                series=right,
                marks=(Mark(text="n / 4", x=0.25),),
            ),
            Panel(
                x=Axis(label="layer and head of the model", names=tuple(names)),
                y=Axis(label="cumulative share at n / 4", limits=(0, 1.02)),
                series=tuple(
                    Series(label="", x=[i], y=[y], kind="bars", colour=series[i][1])
                    for i, y in enumerate(share)
                ),
            ),
        ),
        printed=(
            Printed(
                what="share at a quarter of the index",
                source="drawn, not printed: 128 of 512, by layer and head",
                ours=", ".join(f"{x:.2f}" for x in share),
            ),
        ),
        of_paper="Linformer, Figure 1: cumulative singular values, left, and at 128 of 512, right",
        facts={"least share": min(share), "largest share": max(share)},
    )


def _weights(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    return np.asarray(row_softmax(q @ k.T / math.sqrt(q.shape[1]), np))


def range_finder(tiny: bool = False) -> Figure:
    """Errors of a randomised range finder by rank, beside the least ones and the bounds."""
    heads, n = minilm_heads(), 48 if tiny else 256
    q, k = (np.asarray(x[2, 0, :n], np.float64) for x in (heads.q, heads.k))
    a = _weights(q, k)
    values = np.linalg.svd(a, compute_uv=False)
    ranks = [2, 8] if tiny else [2, 4, 8, 16, 32, 64, 128]
    found = {r: _mean_errors(a, r, 3 if tiny else 20) for r in ranks}
    spectral, powered, frobenius = ([found[r][i] for r in ranks] for i in range(3))
    plain = [_spectral_bound(values, r) for r in ranks]
    once = [_spectral_bound(values, r, 1) for r in ranks]
    whole = [_frobenius_bound(values, r) for r in ranks]
    least, rest = [float(values[r]) for r in ranks], [_rest(values, r) for r in ranks]
    of_spectral = _pair("q = 0", ranks, spectral, plain, 0)
    of_spectral += _pair("q = 1", ranks, powered, once, 1)
    of_frobenius = _pair("q = 0", ranks, frobenius, whole, 0)
    return Figure(
        name="range-finder",
        title="A randomised range finder on a real attention matrix",
        claims=("hmt.spectral", "hmt.frobenius", "hmt.power-iteration", "ours.eckart-young"),
        caption=f"n = {n}, {_EXTRA} columns more than the rank: mean errors, the bounds on their "
        "expectation (Theorems 10.5 and 10.6 and Corollary 10.10 of Halko, Martinsson and Tropp), "
        "and the least that any matrix of that rank leaves. One power A A^T (q = 1) brings the "
        f"error close to it, and {_EXTRA} columns more may bring it below.",
        panels=(
            _by_rank("spectral", ranks, of_spectral, least),
            _by_rank("Frobenius", ranks, of_frobenius, rest),
        ),
        seed=_SEED,
        of_paper="Halko, Martinsson and Tropp, figures of error against rank",
        facts={
            "largest share": _largest_share(spectral, plain),
            "largest share, powers": _largest_share(powered, once),
            "largest share, Frobenius": _largest_share(frobenius, whole),
        },
    )


def _by_rank(norm: str, ranks: list[int], found: tuple[Series, ...], least: list[float]) -> Panel:
    """Errors in a norm, beside the least that any matrix of that rank leaves."""
    x, y = Axis(label="rank r", log=True, base=2), Axis(label=f"{norm} norm of the error", log=True)
    floor = Series(label="least of rank r", x=ranks, y=least, kind="dashed", colour=6)
    return Panel(x=x, y=y, series=(*found, floor))


def _largest_share(mean: list[float], bound: list[float]) -> float:
    return max(m / b for m, b in zip(mean, bound, strict=True))


def _pair(
    label: str, x: list[int], mean: list[float], bound: list[float], colour: int
) -> tuple[Series, ...]:
    return (
        Series(label=f"bound, {label}", x=x, y=bound, colour=colour),
        Series(label=f"mean error, {label}", x=x, y=mean, kind="rings", colour=colour),
    )


def _mean_errors(a: np.ndarray, r: int, draws: int) -> tuple[float, ...]:
    """Mean spectral error without and with one power of A A^T, and mean Frobenius error."""
    rng = np.random.default_rng([_SEED, r])
    rows = []
    for _ in range(draws):
        sketch = a @ rng.standard_normal((a.shape[1], r + _EXTRA))
        plain, powered = _left(a, sketch), _left(a, a @ (a.T @ sketch))
        rows.append([np.linalg.norm(plain, 2), np.linalg.norm(powered, 2), np.linalg.norm(plain)])
    return tuple(float(x) for x in np.mean(rows, axis=0))


def _left(a: np.ndarray, sketch: np.ndarray) -> np.ndarray:
    """(1 - Q Q^T) A for an orthonormal basis Q of the columns of a sketch."""
    basis, _ = np.linalg.qr(sketch)
    return np.asarray(a - basis @ (basis.T @ a))


def _rest(values: np.ndarray, r: int, power: int = 1) -> float:
    return math.sqrt(float(np.sum(values[r:] ** (2 * power))))


def _frobenius_bound(values: np.ndarray, r: int) -> float:
    return math.sqrt(1 + r / (_EXTRA - 1)) * _rest(values, r)


def _spectral_bound(values: np.ndarray, r: int, q: int = 0) -> float:
    """Theorem 10.6 for q = 0, Corollary 10.10 else."""
    p, power = _EXTRA, 2 * q + 1
    first = (1 + math.sqrt(r / (p - 1))) * float(values[r]) ** power
    return float((first + math.e * math.sqrt(r + p) / p * _rest(values, r, power)) ** (1 / power))
