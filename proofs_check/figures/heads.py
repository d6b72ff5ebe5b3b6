"""Every method on real heads: error against cost, and against outputs that need no attention."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import approxattn as aa
from approxattn.data import minilm_heads
from approxattn.diagnosis.equal_cost import settings_for
from approxattn.methods import all_methods
from approxattn.softmax.scores import row_softmax
from proofs_check.figures.record import Axis, Figure, Mark, Panel, Printed, Series

_SEED = 13
_BUDGETS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)

_DEAR: dict[type[Any], tuple[Any, ...]] = {
    aa.Polynomial: tuple(aa.Polynomial(degree=g, basis="taylor") for g in (2, 4)),
    aa.FittedPolynomial: (aa.FittedPolynomial(degree=2), aa.FittedPolynomial(degree=4)),
    aa.Yoso: tuple(aa.Yoso(bits=8, hashes=m) for m in (8, 32, 128)),
    aa.YosoExpectation: (aa.YosoExpectation(bits=8),),
    aa.LSHSoftmax: (aa.LSHSoftmax(),),
}
"""What has no setting as cheap as the budgets at a few hundred tokens."""

MEASURED = Path(__file__).resolve().parents[2] / "docs" / "results" / "packages-on-heads.json"
"""Written by `./run.sh bench package-errors`."""

_MOST = 4.0

Head = tuple[np.ndarray, np.ndarray, np.ndarray]


def heads_cost(tiny: bool = False) -> Figure:
    """Median relative error over the shipped heads, by cost, for every method with a setting."""
    n, heads = _heads(tiny)
    series = []
    for kind in all_methods():
        points = _curve(kind, n, heads, _BUDGETS[-2:] if tiny else _BUDGETS)
        if points:
            cost, error = zip(*sorted(points), strict=True)
            series.append(Series(label=kind.__name__, x=cost, y=error))
    others = list(packages())
    null = float(np.median([_relative(_mean(h), h) for h in heads]))
    return Figure(
        name="heads-cost",
        title=f"Error against cost on {len(heads)} heads of a real encoder",
        claims=("code.clustered", "code.polynomial-taylor", "code.nystrom", "code.yoso"),
        caption=f"n = {n}. Cost counts multiply-adds over those of exact attention. Above the "
        f"dotted line "
        "the mean of the values, which needs no attention, is better. At this length polynomials "
        "cost more than exact attention; YOSO approximates another attention than softmax."
        + (" Hollow: packages on PyTorch, n = 256, as measured before." if others else ""),
        panels=(
            Panel(
                x=Axis(label="cost / cost of exact attention", log=True, base=2),
                y=Axis(label="relative Frobenius error, median", log=True),
                series=(*series, *others),
                marks=(Mark(text="mean of V", y=null),),
            ),
        ),
        seed=_SEED,
        facts={s.label: float(min(s.y)) for s in series} | {"mean of V": null},
    )


def packages(place: Path = MEASURED) -> Iterator[Series]:
    """Yield what other packages do on these heads, at up to _MOST times the cost of exact
    attention; nothing where nobody has measured it.
    """
    if not place.exists():
        return
    for package in json.loads(place.read_text(encoding="utf-8"))["packages"]:
        rows = [row for row in package["rows"] if row["cost"] <= _MOST]
        yield Series(
            label=f"{package['package']} {package['version']}",
            x=[row["cost"] for row in rows],
            y=[float(np.median(row["errors"])) for row in rows],
            kind="rings",
        )


def heads_null(tiny: bool = False) -> Figure:
    """Relative errors at a quarter of the cost beside three outputs that need no attention."""
    n, heads = _heads(tiny)
    rows: dict[str, list[float]] = {"zero": [1.0] * len(heads)}
    rows["mean of V"] = [_relative(_mean(h), h) for h in heads]
    for kind in all_methods():
        tried = [[_error(m, h) for h in heads] for m in settings_for(kind, n, 32, 1 / 4)]
        best = min(tried, key=lambda e: float(np.median(e)), default=[])
        rows[kind.__name__] = [e for e in best if math.isfinite(e)]
    rows = {name: errors for name, errors in rows.items() if errors}
    criterion = [_criterion(h) for h in heads]
    x = np.repeat(np.arange(len(rows)), [len(e) for e in rows.values()])
    y = np.concatenate([*rows.values()])
    medians = [float(np.median(e)) for e in rows.values()]
    return Figure(
        name="heads-null",
        title=f"Error at a quarter of the cost, {len(heads)} real heads",
        claims=("linformer.null-baseline", "subgen.null-baseline", "hyper.null-baseline"),
        caption="A method is worth something where it is below the mean of the values. The "
        "criterion of Linformer's Theorem 2, an error within ε |P| |V|, ε = 1/2, is passed by the "
        f"zero output on {np.mean(criterion):.0%} of the rows.",
        panels=(
            Panel(
                x=Axis(label="", names=tuple(rows)),
                y=Axis(label="relative Frobenius error", log=True),
                series=(
                    Series(label="heads", x=x, y=y, kind="points"),
                    Series(label="median", x=np.arange(len(rows)), y=medians, kind="dashes"),
                ),
                marks=(Mark(text="mean of V", y=float(np.median(rows["mean of V"]))),),
            ),
        ),
        printed=(
            Printed(
                what="rows where zero passes the criterion",
                source="a guarantee",
                ours=f"{np.mean(criterion):.0%}",
            ),
        ),
        seed=_SEED,
        facts={"zero passes": float(np.mean(criterion)), **dict(zip(rows, medians, strict=True))},
    )


def _heads(tiny: bool) -> tuple[int, list[Head]]:
    found = minilm_heads()
    n = 64 if tiny else found.q.shape[-2]
    arrays = [np.asarray(x, np.float64)[..., :n, :] for x in (found.q, found.k, found.v)]
    items = [(arrays[0][i], arrays[1][i], arrays[2][i]) for i in np.ndindex(arrays[0].shape[:2])]
    return n, items[:2] if tiny else items


def _curve(
    kind: type[Any], n: int, heads: list[Head], budgets: tuple[float, ...]
) -> list[tuple[float, float]]:
    """Cost and median error of the best of the largest settings within each budget, or of the
    settings of `_DEAR`.
    """
    if kind in _DEAR:
        groups = [[method] for method in _DEAR[kind]]
    else:
        groups = [settings_for(kind, n, 32, budget) for budget in budgets]
    exact = aa.Exact().cost(n, n, 32, 32).multiply_adds
    found = {}
    for methods in groups:
        tried = [
            (float(np.median([_error(m, h) for h in heads])), m.cost(n, n, 32, 32).multiply_adds)
            for m in methods
        ]
        error, cost = min(tried, default=(math.inf, 0))
        if math.isfinite(error):
            found[cost / exact] = error
    return list(found.items())


def _mean(head: Head) -> np.ndarray:
    """Return the mean of the values in every row."""
    return np.broadcast_to(head[2].mean(axis=0), head[2].shape)


def _error(method: Any, head: Head) -> float:
    """Relative error, infinite where the method refuses the head."""
    try:
        out = aa.attention(*head, method, rng=np.random.default_rng(_SEED))
    except ValueError:
        return math.inf
    return _relative(np.asarray(out.value), head)


def _relative(value: np.ndarray, head: Head) -> float:
    right = _exact(*(x.tobytes() for x in head), head[0].shape[1])
    return float(np.linalg.norm(value - right) / np.linalg.norm(right))


@functools.lru_cache(maxsize=32)
def _exact(q: bytes, k: bytes, v: bytes, d: int) -> np.ndarray:
    a, b, c = (np.frombuffer(x).reshape(-1, d) for x in (q, k, v))
    return np.asarray(aa.attention(a, b, c, aa.Exact()).value)


def _criterion(head: Head) -> float:
    """Share of the rows whose output is within |p| |V|_F / 2 of 0."""
    q, k, v = head
    weights = row_softmax(q @ k.T / math.sqrt(q.shape[1]), np)
    allowed = np.linalg.norm(weights, axis=1) * np.linalg.norm(v) / 2
    return float(np.mean(np.linalg.norm(weights @ v, axis=1) <= allowed))
