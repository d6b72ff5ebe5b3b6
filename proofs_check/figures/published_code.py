"""The table of the code published for Liang et al. 2024: its errors and speed-ups, made again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from proofs_check.figures.record import Axis, Figure, Panel, Printed, Series
from proofs_check.papers.liang_2024.source import CODE

_SEED = 17
_BLOCK = 1024
"""Rows of scores held at a time. *Chosen*."""

PRINTED = {
    4: (4.673, 1.423),
    5: (2.505, 1.730),
    6: (2.846, 2.576),
    7: (1.838, 3.897),
    8: (2.005, 9.426),
    9: (1.620, 26.425),
    10: (1.286, 26.713),
    11: (1.558, 40.327),
    12: (0.773, 78.980),
}
"""The readme's error in per cent and speed-up, by d; n = 10 * 2^d tokens."""

Array = np.ndarray


class _Errors(NamedTuple):
    """Errors in per cent, and how often faster the approximation was."""

    reported: float
    relative: float
    softmax: float
    speedup: float


def published_table(tiny: bool = False) -> Figure:
    """Errors by three measures, and the speed-up in processor time, beside the readme's."""
    widths = [4, 5, 6] if tiny else list(range(4, 11))
    with threadpool_limits(1):
        draws = [[_measured(d, i) for i in range(9 if d < 9 else 1)] for d in widths]
    found = [_median(of_width) for of_width in draws]
    last = found[-1]
    return Figure(
        name="published-table",
        title="The table of LSS24's published code, made again",
        claims=("lss24.code-normaliser", "lss24.code-error-metric"),
        caption="n = 10 · 2ᵈ Gaussian tokens, a polynomial of degree 2. The code divides columns "
        "where softmax divides rows, and reports |x - y| / |x + y|, half of a relative error. "
        "The readme has one draw a width; ours are medians of nine up to d = 8, where draws differ "
        "most, and one beyond. Times here are "
        "processor times of NumPy on one thread; theirs are of PyTorch.",
        panels=(
            _panel("error, %", _error_series(widths, draws, found)),
            _panel("speed-up, times", _speed_series(widths, found)),
        ),
        printed=tuple(_printed(d, f) for d, f in zip(widths, found, strict=True)),
        seed=_SEED,
        of_paper="LSS24, table of the published code (" + CODE.split(", ")[-1] + ")",
        facts={
            "relative / reported": last.relative / last.reported,
            "reported, d = 4": found[0].reported,
            "softmax, last": last.softmax,
        },
    )


def _panel(measure: str, series: tuple[Series, ...]) -> Panel:
    x, y = Axis(label="width d of n = 10 · 2ᵈ tokens"), Axis(label=measure, log=True)
    return Panel(x=x, y=y, series=series, legend="below")


def _error_series(
    x: list[int], draws: list[list[_Errors]], found: list[_Errors]
) -> tuple[Series, ...]:
    reported = [[f.reported for f in of_width] for of_width in draws]
    most, least = [max(r) for r in reported], [min(r) for r in reported]
    relative, softmax = [f.relative for f in found], [f.softmax for f in found]
    return (
        Series(label="readme", x=x, y=[PRINTED[d][0] for d in x], kind="points"),
        Series(label="range of 9 draws, d < 9", x=x, y=most, low=least, kind="band", colour=1),
        Series(label="as reported, here", x=x, y=[f.reported for f in found], colour=1),
        Series(label="relative, same normaliser", x=x, y=relative, kind="dashed", colour=2),
        Series(label="relative, to softmax", x=x, y=softmax, colour=3),
    )


def _speed_series(x: list[int], found: list[_Errors]) -> tuple[Series, ...]:
    counted = [_cost_exact(d) / _cost_polynomial(d) for d in x]
    return (
        Series(label="readme", x=x, y=[PRINTED[d][1] for d in x], kind="points"),
        Series(label="timed here", x=x, y=[f.speedup for f in found]),
        Series(label="counted", x=x, y=counted, kind="dashed"),
    )


def _printed(d: int, f: _Errors) -> Printed:
    return Printed(
        what=f"d = {d}, n = {10 * 2**d:,}: error; speed-up",
        source=f"{PRINTED[d][0]} %; {PRINTED[d][1]:.1f}",
        ours=f"{f.reported:.3f} % (relative {f.relative:.3f} %, to softmax "
        f"{f.softmax:.1f} %); {f.speedup:.1f}",
    )


def _median(found: list[_Errors]) -> _Errors:
    return _Errors(*(float(x) for x in np.median(np.asarray(found), axis=0)))


def _measured(d: int, draw: int) -> _Errors:
    n = 10 * 2**d
    rng = np.random.default_rng([_SEED, d, draw])
    q, k, v = rng.standard_normal((3, n, d)).astype(np.float32)
    q, k = q / np.float32(math.sqrt(d)), k / np.float32(math.sqrt(d))
    slow, exact = _timed(lambda: _column_exact(q, k, v))
    fast, value = _timed(lambda: _column_polynomial(_features(q), _features(k), v))
    error = float(np.linalg.norm(value - exact))
    return _Errors(
        100 * error / float(np.linalg.norm(value + exact)),
        100 * error / float(np.linalg.norm(exact)),
        _against_softmax(q, k, v, value),
        slow / fast,
    )


def _timed(task: Callable[[], Array]) -> tuple[float, Array]:
    """Processor time, the least of three runs, and the result."""
    times = []
    for _ in range(3):
        start = time.process_time()
        value = task()
        times.append(time.process_time() - start)
    return max(min(times), 1e-6), value


def _features(x: Array) -> Array:
    """1, x and all products of two entries over sqrt(2): dot products 1 + s + s^2/2."""
    products = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1) / np.float32(math.sqrt(2))
    return np.concatenate([np.ones_like(x[:, :1]), x, products], axis=1)


def _column_polynomial(q: Array, k: Array, v: Array) -> Array:
    """A D^-1 V with the polynomial's A, as the code has it: key j over the sum of row j."""
    sums = q @ k.sum(axis=0)
    return np.asarray(q @ ((k / sums[:, None]).T @ v))


def _column_exact(q: Array, k: Array, v: Array) -> Array:
    """A D^-1 V with A = exp(q k^T), the sums D of the rows, in blocks."""
    sums = np.concatenate([rows.sum(axis=1) for rows in _blocks(q, k)])
    divided = v / sums[:, None]
    return np.concatenate([rows @ divided for rows in _blocks(q, k)])


def _against_softmax(q: Array, k: Array, v: Array, value: Array) -> float:
    """Relative error of a value to D^-1 A V, in per cent."""
    right = np.concatenate([(r @ v) / r.sum(axis=1, keepdims=True) for r in _blocks(q, k)])
    return 100 * float(np.linalg.norm(value - right) / np.linalg.norm(right))


def _blocks(q: Array, k: Array) -> Iterator[Array]:
    """Rows of exp(q k^T), some at a time."""
    for start in range(0, len(q), _BLOCK):
        yield np.exp(q[start : start + _BLOCK] @ k.T)


def _cost_exact(d: int) -> int:
    n = 10 << d
    return 2 * d * n * n


def _cost_polynomial(d: int) -> int:
    return 2 * (10 << d) * (1 + d + d * d) * (d + 1)
