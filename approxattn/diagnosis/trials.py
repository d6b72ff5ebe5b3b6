"""Every method on the heads of one layer, at equal cost; errors on rows recomputed exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn._problem import Problem, pose
from approxattn.attend.calls import approximate, why_refused
from approxattn.diagnosis.comparison import exact_rows, mean_error, relative_error
from approxattn.diagnosis.equal_cost import settings_within
from approxattn.diagnosis.score_statistics import statistics
from approxattn.methods import all_methods
from approxattn.methods.protocol import described


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """One head of one batch item.

    Attributes
    ----------
    q, k, v : ndarray, shapes (n_q, d), (n_k, d), (n_k, dv)
        As the attention saw them.
    scale : float
        Factor of q . k.
    masks : mapping
        Keywords of `approxattn.attention`, `audit` and `diagnose`: causal, query_offset, window,
        segments, key_mask, empty_rows.
    """

    q: HostArray
    k: HostArray
    v: HostArray
    scale: float
    masks: Mapping[str, Any]

    @property
    def plain(self) -> bool:
        """Whether causal order, of equally many queries and keys, is the only mask."""
        others = (self.masks[name] for name in ("window", "segments", "key_mask"))
        if any(given is not None for given in others):
            return False
        square = not self.masks["query_offset"] and len(self.q) == len(self.k)
        return square or not self.masks["causal"]


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """What was found in one layer.

    Attributes
    ----------
    layer : int
        Its number.
    module : str
        Its name in the model.
    heads, seen : int
        Number of heads, and of those looked at in the time given.
    largest_score, effective_keys : float
        Median over these heads: the largest ``|score|`` of the rows looked at, and how many keys
        the median row attends to (1/|p|^2).
    mean_error : float
        Median relative error of the mean of v, which every method should beat.
    errors : mapping of str to tuple of float
        Method -> relative errors on these heads.
    methods : mapping of str to Method
        The same names -> the methods.
    refused : str
        Why the layer was not looked at, or empty.
    """

    layer: int
    module: str
    heads: int
    seen: int = 0
    largest_score: float = math.nan
    effective_keys: float = math.nan
    mean_error: float = math.nan
    errors: dict[str, tuple[float, ...]] = field(default_factory=dict)
    methods: dict[str, Any] = field(default_factory=dict)
    refused: str = ""

    @property
    def best(self) -> str:
        """The method with the least median error; empty where none was tried."""
        return min(self.errors, key=lambda name: float(np.median(self.errors[name])), default="")

    @property
    def error(self) -> float:
        """Its median error."""
        return float(np.median(self.errors[self.best])) if self.best else math.nan

    @property
    def worst(self) -> float:
        """Its error on the worst head looked at."""
        return max(self.errors[self.best]) if self.best else math.nan

    def __str__(self) -> str:
        if self.refused:
            return f"{self.layer:>5}  {self.refused}"
        numbers = (self.largest_score, self.effective_keys, self.mean_error, self.error, self.worst)
        found = "".join(f"{x:>10.3g}" if math.isfinite(x) else f"{'-':>10}" for x in numbers)
        return f"{self.layer:>5}{f'{self.seen}/{self.heads}':>8}{found}  {self.best}"


HEADER = (
    f"{'layer':>5}{'heads':>8}{'|score|':>10}{'eff. keys':>10}{'mean of v':>10}{'error':>10}"
    f"{'worst':>10}  best method"
)


class Trials:
    """What was found so far in one layer."""

    def __init__(self, heads: int) -> None:
        self.heads = heads
        self.seen = 0
        self.scores: list[tuple[float, float, float]] = []
        self.errors: dict[str, list[float]] = {}
        self.methods: dict[str, Any] = {}
        self.refused = ""

    def add(self, head: Head, cost: float, rows: int, rng: np.random.Generator, end: float) -> None:
        """Try every method on one head; what the time cuts short does not count."""
        problem = pose(head.q, head.k, head.v, scale=head.scale, **head.masks)
        if head.masks["window"] is not None:
            self.refused = f"its window {head.masks['window']} is for Exact() only"
            return
        chosen, exact, weights = exact_rows(problem, rows)
        found: dict[str, float] = {}
        for method in _candidates(problem, cost):
            if time.monotonic() > end:
                return
            name = described(method)
            self.methods[name] = method
            found[name] = _error(method, problem, rng, chosen, exact)
        seen = statistics(problem, chosen)
        mean = mean_error(problem, exact, weights)
        self.scores.append((float(np.max(seen.largest)), float(np.median(seen.effective)), mean))
        self.seen += 1
        for name, error in found.items():
            self.errors.setdefault(name, []).append(error)

    def report(self, layer: int, module: str) -> LayerReport:
        """Return the medians."""
        if self.refused:
            return LayerReport(layer=layer, module=module, heads=self.heads, refused=self.refused)
        whole = {name: tuple(e) for name, e in self.errors.items() if len(e) == self.seen}
        score, keys, mean = (
            np.median(np.array(self.scores), axis=0) if self.scores else (math.nan,) * 3
        )
        return LayerReport(
            layer=layer,
            module=module,
            heads=self.heads,
            seen=self.seen,
            largest_score=float(score),
            effective_keys=float(keys),
            mean_error=float(mean),
            errors=whole,
            methods={name: self.methods[name] for name in whole},
        )


def _candidates(problem: Problem, cost: float) -> Iterator[Any]:
    """Yield the methods that the cost allows and that have a form for the problem."""
    for kind in all_methods():
        for method in settings_within(kind, problem, cost):
            if not why_refused(method, problem):
                yield method


def _error(
    method: Any,
    problem: Problem,
    rng: np.random.Generator,
    chosen: HostArray,
    exact: HostArray,
) -> float:
    """Return the relative error of a method on the rows chosen, inf where it refuses."""
    try:
        value = approximate(method, problem, rng).value
    except (ValueError, MemoryError):
        return math.inf
    return relative_error(_arrays.to_float64(value)[chosen], exact)
