"""Cost: growth with the number of tokens, counted and timed; what is the cheapest where."""

from __future__ import annotations

import math
import time
from fractions import Fraction
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import approxattn as aa
from proofs_check.figures.record import Axis, Figure, Mark, Panel, Series
from proofs_check.papers.our_code_campaigns.gpu_time import RESULTS, SHAPES, Measured, newest

_SEED = 31

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
        title="Multiply-adds by the number of tokens, one head",
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
        + ". Settings are held fixed, so errors are not equal. Timed: figure `times`.",
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


_TIMED: dict[str, tuple[Any, str]] = {
    "Exact": (aa.Exact(), "exact"),
    "Polynomial, degree 2": (aa.Polynomial(degree=2, basis="taylor"), "polynomial"),
    "Linformer, k = 64": (aa.Linformer(rank=64, sketch="mean-pool"), "linformer"),
    "Nystrom, 64 landmarks": (aa.Nystrom(landmarks=64), "nystrom"),
    "Performer, 64 features": (aa.Performer(features=64), "performer"),
    "YOSO, 8 hashes": (aa.Yoso(bits=8, hashes=8), "yoso"),
}


def times(tiny: bool = False) -> Figure:
    """Processor time by the number of tokens, with the slopes at the right end."""
    series, slopes = [], {}
    for name, (method, _) in _TIMED.items():
        top = 12 if tiny else 14 if name == "Exact" else 17
        n = [2**i for i in range(10, top)]
        spent = [_processor_time(method, m, 1 if tiny else 3) for m in n]
        series.append(Series(label=name, x=n, y=spent, kind="joined"))
        slopes[name] = _fitted_slope(n[-4:], spent[-4:])
    said = ", ".join(f"{s:.2f} ± {half:.2f} ({name})" for name, (s, half) in slopes.items())
    on_gpu = newest(RESULTS)
    series += of_gpu(on_gpu)
    return Figure(
        name="times",
        title="Processor time by the number of tokens",
        claims=tuple(f"code.scaling-{key}" for _, key in _TIMED.values()),
        caption="One head, d = dv = 16, float32, one thread, least of three whole calls with "
        f"certificates. Slopes of the last four sizes with 95 % intervals: {said}. Below 1 a "
        f"constant part still shows. On a GPU: {on_gpu.name}.",
        panels=(
            Panel(
                x=Axis(label="tokens n", log=True, base=2),
                y=Axis(label="processor time, s", log=True),
                series=tuple(series),
            ),
        ),
        seed=_SEED,
        of_paper="Linformer, Figure 2, and YOSO, figure of running time; on a CPU",
        facts={name: slope for name, (slope, _) in slopes.items()},
    )


def of_gpu(measured: Measured) -> list[Series]:
    """Return the seconds of calls on a GPU, of every shape that its file has."""
    found = {(d, degree): measured.seconds(d, degree) for d, degree in SHAPES}
    return [
        Series(
            label=f"Polynomial, degree {degree}, d = {d}, GPU",
            x=sorted(seconds),
            y=[seconds[n] for n in sorted(seconds)],
            kind="dashed",
        )
        for (d, degree), seconds in found.items()
        if seconds
    ]


def _processor_time(method: Any, n: int, repeats: int) -> float:
    q, k, v = np.random.default_rng(_SEED).uniform(-1, 1, (3, n, 16)).astype(np.float32)
    spent = []
    with threadpool_limits(1):
        for _ in range(repeats + 1):  # the first fills caches
            rng = np.random.default_rng(_SEED) if method.randomised else None
            start = time.process_time()
            aa.attention(q, k, v, method, rng=rng)
            spent.append(time.process_time() - start)
    return max(min(spent[1:]), 1e-6)


def _fitted_slope(n: list[int], spent: list[float]) -> tuple[float, float]:
    """Slope of log time by log n, and half of its 95 % interval."""
    from scipy.stats import linregress, t

    fit = linregress(np.log(n), np.log(spent))
    return float(fit.slope), float(fit.stderr * t.ppf(0.975, len(n) - 2)) if len(n) > 2 else 0.0


def crossover(tiny: bool = False) -> Figure:
    """Number of tokens from which a polynomial of degree g costs less than exact attention."""
    widths = [8, 64] if tiny else [4, 8, 16, 32, 64, 128]
    series: list[Series] = []
    facts: dict[str, float] = {}
    for g in (2, 4, 6, 8):
        n = [_crossover(aa.Polynomial(degree=g, basis="taylor"), d) for d in widths]
        series.append(Series(label=f"degree {g}", x=widths, y=n, kind="joined"))
        facts |= {f"d = {d}, g = {g}": float(x) for d, x in zip(widths, n, strict=True)}
    return Figure(
        name="crossover",
        title="From how many tokens on a polynomial is cheaper",
        claims=("code.cost-regime", "code.cost-regime-degree", "code.cost-polynomial"),
        caption="With d of the order log n and a fixed degree the rank is below n for large n: "
        "that is the almost linear time of AS23. At the widths of real heads n is large.",
        panels=(
            Panel(
                x=Axis(label="width d", log=True, base=2),
                y=Axis(label="tokens n, crossing with exact attention", log=True),
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
    ranges = [0.5, 2.0] if tiny else [i / 8 for i in range(1, 65)]
    series: list[Series] = []
    facts: dict[str, float] = {}
    for d in (4, 16) if tiny else (4, 8, 16, 32):
        cost = [_per_token(degree_for(b, tolerance), n, d) for b in ranges]
        series.append(Series(label=f"d = {d}", x=ranges, y=cost, kind="steps"))
        facts |= {f"d = {d}, B = {b:g}": c for b, c in zip(ranges, cost, strict=True)}
    return Figure(
        name="regimes",
        title="Where a polynomial pays, n = 2²⁰",
        claims=("code.cost-regimes", "ours.hilbert", "aa22.minimal-degrees-table"),
        caption="Tolerance 1e-2: the least degree whose error is certified from the "
        "range B of the scores alone. "
        "Below 1 the polynomial is cheaper. Trained heads have ranges of 8 and more.",
        panels=(
            Panel(
                x=Axis(label="half range B of the scores"),
                y=Axis(label="cost / cost of exact attention", log=True),
                series=tuple(series),
                marks=(Mark(text="exact", y=1.0),),
            ),
        ),
        facts=facts,
    )


def regime_map(tiny: bool = False) -> Figure:
    """The cheapest method whose error the range of the scores certifies, by range and width."""
    from approxattn.exponential.degree import degree_for

    tolerance = 1e-2
    widths = [4, 16, 64] if tiny else [1, 2, 4, 8, 16, 32, 64, 128]
    ranges = [0.25, 2.0, 8.0] if tiny else [0.125, 0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8]
    degree = {b: degree_for(b, tolerance) for b in ranges}
    panels, facts = [], {}
    for n in (2**14, 2**20):
        cells = {
            (i, j): _cheapest(degree[b], n, d)
            for i, b in enumerate(ranges)
            for j, d in enumerate(widths)
        }
        facts[f"polynomial, n = {n}"] = float(np.mean([name != "exact" for name in cells.values()]))
        panels.append(_map_panel(n, cells, ranges, widths))
    return Figure(
        name="regime-map",
        title="The cheapest attention within 1 % of the spread of the values",
        claims=("code.cost-regimes", "code.cost-polynomial", "ours.hilbert"),
        caption="Certified from the half range B of the scores alone, for every input: exact "
        "attention, or the polynomial of least degree. Methods whose error depends on the data "
        "promise nothing of the kind; what they do on real heads is in `heads-cost`.",
        panels=tuple(panels),
        facts=facts,
    )


_WRITTEN = {
    **{f"degree {g}": str(g) for g in range(1, 5)},
    "degree 5, 6": "5-6",
    "degree 7 or more": "7+",
    "exact": "E",
}
"""What stands in the cells."""

_NAMES = tuple(_WRITTEN)


def _cheapest(degree: int, n: int, d: int) -> str:
    if _per_token(degree, n, d) >= 1:
        return "exact"
    if degree <= 4:
        return f"degree {degree}"
    return "degree 5, 6" if degree <= 6 else "degree 7 or more"


def _map_panel(
    n: int, cells: dict[tuple[int, int], str], ranges: list[float], widths: list[int]
) -> Panel:
    names = sorted(set(cells.values()), key=_NAMES.index)
    return Panel(
        title=f"n = {n:,}",
        x=Axis(label="half range B of the scores", names=tuple(str(Fraction(b)) for b in ranges)),
        y=Axis(label="width d", names=tuple(map(str, widths))),
        series=tuple(
            Series(
                label=name,
                x=[i for (i, _), found in cells.items() if found == name],
                y=[j for (_, j), found in cells.items() if found == name],
                kind="squares",
                colour=_NAMES.index(name),
                written=_WRITTEN[name],
            )
            for name in names
        ),
        legend="below",
    )


def _per_token(degree: int, n: int, d: int) -> float:
    rank = math.comb(d + degree, degree)
    return 2 * rank * (d + 1) / (n * 2 * d)
