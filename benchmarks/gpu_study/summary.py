"""What the records say: exponents with intervals, shares of the ceilings, where exact attention is
overtaken.
"""

from __future__ import annotations

import json
import math
import statistics
from typing import Any

import numpy as np

from gpu_study.records import Record

LARGE = 2**16
"""n from which exponents count: below, launches cost more than work."""

Series = dict[str, list[tuple[int, float]]]


def series(records: list[Record]) -> Series:
    """Return for each setting the median seconds by n, increasing."""
    found: dict[str, dict[int, float]] = {}
    for record in records:
        arguments = dict(record["arguments"])
        if "seconds" not in record["result"] or "n" not in arguments:
            continue
        n = arguments.pop("n")
        name = " ".join([record["name"], *(f"{k}={arguments[k]}" for k in sorted(arguments))])
        found.setdefault(name, {})[n] = statistics.median(record["result"]["seconds"])
    return {name: sorted(points.items()) for name, points in found.items()}


def exponent(points: list[tuple[int, float]]) -> tuple[float, float, float] | None:
    """Return the least-squares slope of log seconds against log n between the ends of its 95 %
    interval; None for fewer than four points.
    """
    large = [point for point in points if point[0] >= LARGE] or points
    if len(large) < 4:
        return None
    from scipy.stats import linregress, t

    x, y = np.log([n for n, _ in large]), np.log([s for _, s in large])
    fit = linregress(x, y)
    half = float(t.ppf(0.975, len(large) - 2) * fit.stderr)
    return float(fit.slope) - half, float(fit.slope), float(fit.slope) + half


def ceilings(records: list[Record]) -> dict[str, float]:
    """Return the most reached: bytes a second of a copy, operations a second of products."""
    found = {}
    for record in records:
        result = record["result"]
        if record["name"] == "ceiling" and "seconds" in result:
            work = result.get("flop", result.get("bytes"))
            found[record["arguments"]["what"]] = work / min(result["seconds"])
    return found


def shares(records: list[Record]) -> dict[str, float]:
    """Return for the sums the share of the float32 product's speed."""
    most = ceilings(records).get("float32")
    if most is None:
        return {}
    return {
        json.dumps(record["arguments"], sort_keys=True): record["result"]["flop"]
        / statistics.median(record["result"]["seconds"])
        / most
        for record in records
        if record["name"] == "sums" and "seconds" in record["result"]
    }


def crossover(ours: list[tuple[int, float]], exact: list[tuple[int, float]]) -> float | None:
    """Return the n from which ours is faster, on straight lines between the points in logarithms;
    None where they do not cross.
    """
    if not ours or not exact:
        return None
    ns = sorted({n for n, _ in (*ours, *exact)})
    low, high = (f(points[i][0] for points in (ours, exact)) for f, i in ((max, 0), (min, -1)))
    x = np.log([n for n in ns if low <= n <= high])
    if not len(x):
        return None
    gap = np.subtract(*(np.interp(x, *np.log(points).T) for points in (ours, exact)))
    for i in range(1, len(x)):
        if gap[i - 1] > 0 >= gap[i]:
            part = gap[i - 1] / (gap[i - 1] - gap[i])
            return math.exp(x[i - 1] + part * (x[i] - x[i - 1]))
    return None


def crossovers(lines: Series) -> dict[str, float | None]:
    """Return that of every forward call without a mask, with PyTorch's exact attention at the same
    d, where that was measured.
    """
    found = {}
    for name, points in lines.items():
        kind, *settings = name.split()
        width = next((x for x in settings if x.startswith("d=")), "")
        exact = lines.get(f"sdpa {width} dtype=bfloat16")
        other = {"gradient=True", "causal=True"} & {*settings}
        if kind == "call" and exact and not other:
            found[name] = crossover(points, exact)
    return found


def summary(records: list[Record]) -> dict[str, Any]:
    """Return all of it, for a JSON file."""
    lines = series(records)
    return {
        "exponents": {name: exponent(points) for name, points in lines.items()},
        "ceilings": ceilings(records),
        "shares": shares(records),
        "crossovers": crossovers(lines),
        "outside": sum(record["result"].get("outside", 0) for record in records),
        "errors": [
            {"name": r["name"], "arguments": r["arguments"], "error": r["result"]["error"]}
            for r in records
            if "error" in r["result"]
        ],
    }
