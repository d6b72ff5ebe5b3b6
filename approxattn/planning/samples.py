"""Rows of each head, drawn and recomputed: what a running check compares outputs with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.entry import public
from approxattn._problem import Scoring, pose, quietly
from approxattn._problem.progress import Work
from approxattn._problem.time_needed import check_rows_fit, exact_seconds
from approxattn.bounds.rounding import up
from approxattn.planning.parts import Part
from approxattn.softmax.rows import Item, choose, items


@dataclass(frozen=True, kw_only=True)
class Found:
    """Relative Frobenius error of a head on the rows drawn, and the largest of a row."""

    error: float
    largest: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Rows drawn from each head, uniformly and without repetition, over all items.

    Attributes
    ----------
    rows, population : int
        Of each head.
    known : dict of int to list of (tuple, Item, ndarray, ndarray)
        Head -> item, rows, exact outputs, their rounding.
    """

    rows: int
    population: int
    known: dict[int, list[tuple[tuple[int, ...], Item, HostArray, HostArray]]]

    def errors(self, part: Part) -> dict[int, Found]:
        """Return the errors of all heads of a part."""
        return {head: self._error(part, place, head) for place, head in enumerate(part.heads)}

    def exceeding(self, confidence: float) -> float:
        """Return the share of rows that may have an error larger than the largest found."""
        if self.rows >= self.population:
            return 0.0
        return float(up(-math.expm1(math.log1p(-confidence) / self.rows)))

    def _error(self, part: Part, place: int, head: int) -> Found:
        gap = norm = largest = 0.0
        for index, item, exact, rounding in self.known.get(head, []):
            value = part.result.value[(*index, place, ...)]
            rows = item.given.xp.take(value, _arrays.from_host(item.rows, value), axis=0)
            difference = _arrays.to_float64(rows) - exact
            gaps, norms = (np.linalg.norm(x, axis=-1) for x in (difference, exact))
            gap, norm = math.hypot(gap, *gaps), math.hypot(norm, *norms)
            slack = math.sqrt(exact.shape[-1]) * rounding
            with np.errstate(all="ignore"):
                relative = np.where(norms > slack, (gaps + slack) / (norms - slack), np.inf)
            relative = np.where((gaps == 0) & (norms == 0), 0.0, relative)
            top = float(np.max(relative, initial=0.0))
            largest = max(largest, math.inf if math.isnan(top) else top)
        error = gap / norm if norm else (math.inf if gap else 0.0)
        return Found(error=math.inf if math.isnan(error) else error, largest=largest)


@public()
@quietly
def sampled(
    q: Array,
    k: Array,
    v: Array,
    *,
    scoring: Scoring,
    shape: tuple[int, ...],
    rows: int,
    rng: np.random.Generator,
) -> Sample:
    """Draw rows of each head and recompute them."""
    problem = pose(q, k, v, scoring)
    heads = math.prod(shape)
    before = math.prod(problem.batch) // max(1, heads)
    population = before * problem.n_q
    check_rows_fit(problem, rows, min(rows, population) * heads, columns=4 * problem.dv + 8)
    drawn = [choose(population, rows, rng) for _ in range(heads)]
    numbers = [
        (own // problem.n_q * heads + head) * problem.n_q + own % problem.n_q
        for head, own in enumerate(drawn)
        if population
    ]
    chosen = np.sort(np.concatenate(numbers)) if numbers else np.zeros(0, np.int64)
    known: dict[int, list[tuple[tuple[int, ...], Item, HostArray, HostArray]]] = {}
    rank = len(problem.batch) - len(shape)
    what = f"check of {chosen.size} rows of {problem.n_k} keys"
    work = Work(what, exact_seconds(problem, chosen.size), chosen.size)
    for item in items(problem, chosen):
        own = item.index[rank:]
        head = int(np.ravel_multi_index(own, shape)) if own else 0
        exact = _arrays.to_float64(item.recompute(work).output)
        known.setdefault(head, []).append((item.index[:rank], item, exact, item.rounding()))
    work.finish()
    return Sample(rows=min(rows, population), population=population, known=known)
