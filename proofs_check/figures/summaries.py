"""Summary keys, cells, sampled and dropped keys: what is proved of them, and real heads."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from approxattn.bounds.perturbation import tv_from_partial_score_error
from approxattn.data import minilm_heads
from proofs_check.figures.record import Axis, Figure, Key, Panel, Series
from proofs_check.papers.ours.summaries.cell import excess
from proofs_check.papers.ours.summaries.row import largest

_SEED, _SIZE, _BLOCK = 17, 16, 8
"""Keys of a cell and queries of a block are neighbours."""


class _Cell(NamedTuple):
    """Weights of the mean query, changes of the scores for one query of the block, values."""

    pi: np.ndarray
    x: np.ndarray
    v: np.ndarray


@functools.cache
def _heads(tiny: bool) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]:
    """Queries with the scale, keys and values."""
    found = minilm_heads()
    scaled = np.asarray(found.q, np.float64) / math.sqrt(found.q.shape[-1])
    items = [(scaled[i], found.k[i], found.v[i]) for i in np.ndindex(found.q.shape[:2])]
    exact = [[np.asarray(x, np.float64) for x in one] for one in items[: 2 if tiny else 8]]
    return tuple((q, k, v) for q, k, v in exact)


def _cells(tiny: bool) -> Iterator[_Cell]:
    """Some cells of every head."""
    rng = np.random.default_rng(_SEED)
    for q, k, v in _heads(tiny):
        for _ in range(20 if tiny else 150):
            first, cell = (size * rng.integers(0, 256 // size) for size in (_BLOCK, _SIZE))
            block, keys = q[first : first + _BLOCK], k[cell : cell + _SIZE]
            mean = block.mean(axis=0)
            pi = np.exp(keys @ mean)
            x = keys @ (block[rng.integers(_BLOCK)] - mean)
            yield _Cell(pi / pi.sum(), x, v[cell : cell + _SIZE, rng.integers(v.shape[1])])


def summary_cell(tiny: bool = False) -> Figure:
    """Mass that a summary key misses and error of its value, by the range of the changes."""
    cells = list(_cells(tiny))
    rho = np.array([np.ptp(c.x) for c in cells])
    mass = np.array([np.log(c.pi @ np.exp(c.x)) - c.pi @ c.x for c in cells])
    tilted = [c.pi * np.exp(c.x) / (c.pi @ np.exp(c.x)) for c in cells]
    moved = [abs((t - c.pi) @ c.v) / np.ptp(c.v) for t, c in zip(tilted, cells, strict=True)]
    line = np.geomspace(min(rho.min(), 0.1), rho.max(), 200)
    most, far = np.array([excess(float(r)) for r in line]), np.tanh(line / 4)
    range_axis = Axis(label="range ρ of ⟨q - q₀, k⟩ in the cell", log=True)
    shares = mass / np.array([excess(float(r)) for r in rho]), np.array(moved) / np.tanh(rho / 4)
    return Figure(
        name="summary-cell",
        title="One summary key for 16 keys of a real head, queries of a block of 8",
        claims=("ours.summary-mass", "ours.summary-value", "ours.summary-lower"),
        caption="Both bounds are attained by two keys for every ρ. The mass is right to first "
        "order, so that its curve falls like ρ²; the value falls like ρ, and decides near the mean "
        "query.",
        panels=(
            Panel(
                title="mass",
                x=range_axis,
                y=Axis(label="ln(exact mass / summary's)", log=True),
                series=(
                    Series(label="cells", x=rho, y=mass, kind="points"),
                    Series(label="H(ρ), attained", x=line, y=most),
                    Series(label="ρ²/8", x=line, y=line**2 / 8, kind="dashed"),
                ),
            ),
            Panel(
                title="value",
                x=range_axis,
                y=Axis(label="error / osc(v)", log=True),
                series=(
                    Series(label="cells", x=rho, y=np.maximum(moved, 1e-6), kind="points"),
                    Series(label="tanh(ρ/4), attained", x=line, y=far),
                ),
            ),
        ),
        seed=_SEED,
        facts={
            "largest share of the mass bound": float(shares[0].max()),
            "largest share of the value bound": float(shares[1].max()),
            "smallest excess": float(mass.min()),
        },
    )


def summary_row(tiny: bool = False) -> Figure:
    """The bound on a row with summaries beside the one that does not know the means."""
    weights = np.geomspace(1e-3, 1, 15 if tiny else 60)
    series, gain = [], {}
    for number, eta in enumerate((0.5, 2.0, 5.0)):
        ours = np.array([largest(eta, float(r)) for r in weights])
        plain = np.asarray(tv_from_partial_score_error(eta, weights))
        series.append(Series(label=f"η = {eta:g}", x=weights, y=ours, colour=number))
        series.append(Series(label="", x=weights, y=plain, kind="dotted", colour=number))
        gain[f"gain at η = {eta:g}"] = float((plain / ours).max())
    return Figure(
        name="summary-row",
        title="Total variation of a row in which summaries have the weight r",
        claims=("ours.summary-row", "ours.tanh-part"),
        caption="Scores change by η at most. That the changes have the mean 0 in each cell is "
        "worth a factor of up to 2.",
        panels=(
            Panel(
                x=Axis(label="weight r of the summaries", log=True),
                y=Axis(label="bound on the total variation", log=True),
                series=tuple(series),
                keys=(
                    Key(label="mean 0 in each cell", kind="line"),
                    Key(label="any changes", kind="dotted"),
                ),
            ),
        ),
        facts=gain,
    )


def cell_geometry(tiny: bool = False) -> Figure:
    """What the lighter half of the cells weighs, and what it may weigh by means and radii."""
    layers = minilm_heads().layers
    true: list[np.ndarray] = []
    allowed: list[np.ndarray] = []
    for q, k, _ in _heads(tiny):
        cells = k.reshape(-1, _SIZE, k.shape[1])
        centres = cells.mean(axis=1)
        radii = np.linalg.norm(cells - centres[:, None], axis=2).max(axis=1)
        masses = np.exp(q @ k.T).reshape(len(q), -1, _SIZE).sum(axis=2)
        reach = np.linalg.norm(q, axis=1)[:, None] * radii
        most = _SIZE * np.exp(q @ centres.T) * np.cosh(reach)
        light = np.argsort(np.argsort(masses, axis=1), axis=1) < len(centres) // 2
        exact = np.where(light, 0, masses).sum(axis=1)
        for found, x in ((true, masses), (allowed, most)):
            weight = np.where(light, x, 0).sum(axis=1)
            found.append(weight / (weight + exact))
    return Figure(
        name="cell-geometry",
        title=f"The lighter half of {_SIZE} cells of {_SIZE} keys, real heads",
        claims=("ours.cell-geometry", "ours.cell-geometry-on-heads"),
        caption="The heavier half is met exactly. There are cells with the same means, radii and "
        "numbers of keys whose lighter half has the weight above: so no bound that sees only those "
        "is below it.",
        panels=(
            Panel(
                x=Axis(label="weight of the lighter half of the cells", log=True),
                y=Axis(label="weight that means and radii allow", limits=(0, 1.03)),
                series=tuple(
                    Series(
                        label="" if i % 2 else f"layer {layers[i // 2]}",
                        x=x,
                        y=y,
                        kind="rings" if i % 2 else "points",
                        colour=i // 2,
                    )
                    for i, (x, y) in enumerate(zip(true, allowed, strict=True))
                ),
                keys=(
                    Key(label="its first head", kind="points"),
                    Key(label="its second head", kind="rings"),
                ),
                legend="beside",
            ),
        ),
        facts={
            "least median allowed": float(min(np.median(y) for y in allowed)),
            "largest median": float(max(np.median(x) for x in true)),
        },
    )


def mean_query_sample(tiny: bool = False) -> Figure:
    """Relative variance of one draw by the mean query's weights, and of a uniform one."""
    cells = list(_cells(tiny))
    rho = np.array([np.ptp(c.x) for c in cells])
    drawn = [c.pi @ np.exp(2 * c.x) / (c.pi @ np.exp(c.x)) ** 2 - 1 for c in cells]
    masses = [c.pi * np.exp(c.x) for c in cells]
    uniform = [_SIZE * (m @ m) / m.sum() ** 2 - 1 for m in masses]
    line = np.geomspace(min(rho.min(), 0.1), rho.max(), 200)
    bound = np.sinh(rho / 2) ** 2
    return Figure(
        name="mean-query-sample",
        title="Relative variance of a cell's mass from one sampled key",
        claims=("ours.mean-query-sample", "ours.mean-query-spread"),
        caption="Draws by the weights of the block's mean query, shared by its queries, against "
        "uniform draws from the same cell. With S draws it is one S-th of that.",
        panels=(
            Panel(
                x=Axis(label="range ρ of ⟨q - q₀, k⟩ in the cell", log=True),
                y=Axis(label="variance / mass²", log=True),
                series=(
                    Series(label="uniform", x=rho, y=uniform, kind="points", colour=5),
                    Series(label="by the mean query", x=rho, y=drawn, kind="points", colour=0),
                    Series(
                        label="its bound sinh²(ρ/2), attained",
                        x=line,
                        y=np.sinh(line / 2) ** 2,
                        colour=1,
                    ),
                ),
            ),
        ),
        seed=_SEED,
        facts={
            "largest share": float(np.max(drawn / bound)),
            "uniform / mean query, median": float(np.median(uniform) / np.median(drawn)),
        },
    )


def dropped_keys(tiny: bool = False) -> Figure:
    """Mass outside the k heaviest keys, and the error of the output, by k."""
    counts = np.array([1, 4, 16, 64, 128])
    floor, error = [], []
    for q, k, v in _heads(tiny):
        p = np.exp(q @ k.T)
        p /= p.sum(axis=1, keepdims=True)
        order = np.argsort(-p, axis=1)
        sorted_p, exact = np.take_along_axis(p, order, axis=1), p @ v
        kept = np.cumsum(sorted_p, axis=1)[:, counts - 1]
        floor.append(np.median(1 - kept, axis=0))
        sums = np.cumsum(sorted_p[..., None] * v[order], axis=1)[:, counts - 1]
        off = np.abs(sums / kept[..., None] - exact[:, None]) / np.ptp(v, axis=0)
        error.append(np.median(off.max(axis=2), axis=0))
    return Figure(
        name="dropped-keys",
        title=f"Rows cut to their k heaviest keys, {len(floor)} real heads",
        claims=("ours.k-keys-floor", "ours.dropped-keys"),
        caption="Medians over heads and rows of 256 keys. No row of weights on k keys is nearer in "
        "total variation. The output is off by that times osc(v) at most, by less where the "
        "values of the tail resemble the others.",
        panels=(
            Panel(
                x=Axis(label="keys kept, k", log=True, base=2),
                y=Axis(label="total variation, or error / osc(v)", log=True),
                series=(
                    Series(
                        label="total variation", x=counts, y=np.median(floor, axis=0), kind="joined"
                    ),
                    Series(
                        label="error of the output",
                        x=counts,
                        y=np.median(error, axis=0),
                        kind="joined",
                    ),
                ),
            ),
        ),
        facts={"largest share": float(np.max(np.array(error) / np.array(floor)))},
    )
