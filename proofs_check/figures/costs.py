"""Counted cost: growth with the number of tokens, and which method is the cheapest where."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import approxattn as aa
from proofs_check.figures.record import Axis, Figure, Panel, Series

_METHODS: dict[str, Any] = {
    "Exact": aa.Exact(),
    "Polynomial, degree 2": aa.Polynomial(degree=2, basis="taylor"),
    "Linformer, k = 256": aa.Linformer(rank=256, sketch="mean-pool"),
    "Nystrom, 64 landmarks": aa.Nystrom(landmarks=64),
    "Performer, 256 features": aa.Performer(features=256),
    "YOSO, 32 hashes": aa.Yoso(bits=8, hashes=32),
}


def growth(tiny: bool = False) -> Figure:
    """Multiply-adds by the number of tokens: near-linear, counted."""
    d = 64
    n = [2**i for i in range(10, 13 if tiny else 23)]
    counts = {
        name: [method.cost(m, m, d, d).multiply_adds for m in n]
        for name, method in _METHODS.items()
    }
    slopes = {name: _slope(n[-2:], row[-2:]) for name, row in counts.items()}
    return Figure(
        name="growth",
        title="Multiply-adds by the number of tokens",
        claims=(
            "code.cost-polynomial",
            "code.cost-yoso",
            "code.cost-nystrom",
            "code.cost-performer",
            "code.cost-linformer-mean-pool",
            "code.cost-exact",
        ),
        caption="Counted, one head of width 64. The slope at the right end is "
        + ", ".join(f"{slope:.2f} ({name})" for name, slope in slopes.items())
        + ". Settings are held fixed, so errors are not equal. Times are what the benchmarks "
        "measure.",
        panels=(
            Panel(
                x=Axis(label="tokens n", log=True, base=2),
                y=Axis(label="multiply-adds", log=True),
                series=tuple(Series(label=name, x=n, y=row) for name, row in counts.items()),
            ),
        ),
        facts=slopes,
    )


def _slope(n: list[int], counts: list[int]) -> float:
    return math.log(counts[1] / counts[0]) / math.log(n[1] / n[0])


def crossover(tiny: bool = False) -> Figure:
    """Number of tokens from which a polynomial of degree g costs less than exact attention."""
    widths = [8, 64] if tiny else [4, 8, 16, 32, 64, 128]
    series: list[Series] = []
    facts: dict[str, float] = {}
    for g in (2, 4, 6, 8):
        n = [_crossover(aa.Polynomial(degree=g, basis="taylor"), d) for d in widths]
        series.append(Series(label=f"degree {g}", x=widths, y=n))
        facts |= {f"d = {d}, g = {g}": float(x) for d, x in zip(widths, n, strict=True)}
    return Figure(
        name="crossover",
        title="Tokens from which a polynomial costs less than exact attention",
        claims=("code.cost-regime", "code.cost-regime-degree", "code.cost-polynomial"),
        caption="With d of the order log n and a fixed degree the rank is below n for large n: "
        "that is the almost linear time of AS23. At the widths of real heads n is large.",
        panels=(
            Panel(
                x=Axis(label="width d", log=True, base=2),
                y=Axis(label="tokens n", log=True),
                series=tuple(series),
            ),
        ),
        facts=facts,
    )


def _crossover(method: Any, d: int) -> int:
    """Return the first n at which the method costs no more, by doubling and bisection."""

    def dearer(n: int) -> bool:
        return bool(
            method.cost(n, n, d, d).multiply_adds > aa.Exact().cost(n, n, d, d).multiply_adds
        )

    low, high = 0, 1
    while dearer(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if dearer(middle) else (low, middle)
    return high


def regimes(tiny: bool = False) -> Figure:
    """Multiply-adds a token for a certified tolerance, by the range of the scores."""
    from approxattn.exponential.degree import degree_for

    tolerance, n = 1e-2, 2**20
    ranges = [0.5, 2.0] if tiny else [0.25, 0.5, 1, 2, 3, 4, 6, 8]
    series: list[Series] = []
    facts: dict[str, float] = {}
    for d in (4, 16) if tiny else (4, 8, 16, 32):
        cost = [_per_token(degree_for(b, tolerance), n, d) for b in ranges]
        series.append(Series(label=f"d = {d}", x=ranges, y=cost))
        facts |= {f"d = {d}, B = {b:g}": c for b, c in zip(ranges, cost, strict=True)}
    return Figure(
        name="regimes",
        title="Where a polynomial pays",
        claims=("code.cost-regimes", "ours.hilbert", "aa22.minimal-degrees-table"),
        caption="n = 2^20, tolerance 1e-2: the least degree whose error is certified from the "
        "range B of the scores alone. "
        "Below 1 the polynomial is cheaper. Trained heads have ranges of 8 and more.",
        panels=(
            Panel(
                x=Axis(label="half range B of the scores"),
                y=Axis(label="cost / cost of exact attention", log=True),
                series=(
                    *series,
                    Series(label="", x=ranges, y=np.ones(len(ranges)), kind="dotted", colour=6),
                ),
            ),
        ),
        facts=facts,
    )


def _per_token(degree: int, n: int, d: int) -> float:
    rank = math.comb(d + degree, degree)
    return 2 * rank * (d + 1) / (n * 2 * d)
