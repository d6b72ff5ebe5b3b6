"""Every method that approximates softmax attention, at equal cost a token: predicted cost, measured
error, and what nothing of that rank can beat.

Errors are relative, in the Frobenius norm, on rows recomputed exactly; the median over the leading
indices looked at. Beside each stands what the method's own certificate says of the same rows,
|bounds| sqrt(dv) over the norm of the exact rows: the error that can be predicted without exact
rows.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_memory, check_positive
from approxattn._arrays import HostArray
from approxattn._problem import Problem
from approxattn._problem.progress import reported
from approxattn._problem.time_needed import check_time
from approxattn.attend.calls import approximate, why_refused
from approxattn.bounds.scores import value_spread
from approxattn.diagnosis import singular_values
from approxattn.diagnosis.equal_cost import (
    candidates,
    crossover,
    priced_names,
    relative_cost,
)
from approxattn.diagnosis.polynomial_needs import count
from approxattn.methods.protocol import described
from approxattn.methods.yoso.yoso import Yoso
from approxattn.softmax.rows import choose, row_blocks

BUDGETS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
TOLERANCES = (1e-1, 1e-2, 1e-3)

ITEMS = 8
"""Leading indices looked at, evenly spaced. *Chosen*: enough for a median."""

ROWS = 128
"""Rows recomputed for each of them. *Chosen*: the norm of the error is then known to about
a tenth.
"""

PATIENCE, WORK = 3600.0, 3e-10
"""Seconds that all methods together may take, and for one of their multiply-adds. *Chosen*: who
asks for dozens of methods waits longer than for one.
"""

FLOOR_WORK = 2**31
"""Multiply-adds for the singular values of each of them. *Chosen*: a second or less; all rows up to
1,290 tokens, 181 of 65,536.
"""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One method with one parameter.

    Attributes
    ----------
    name : str
        What a user would write.
    method : object or None
        The method; None for an oracle or a baseline.
    cost : float
        Multiply-adds over those of exact attention on this problem; nan for an oracle.
    crossover : float
        Number of tokens from which on the method costs less than exact attention; nan for an
        oracle.
    error : float
        Median relative error; inf where the method refuses the problem.
    certified : float
        Median of what its certificates bound that error by; inf without a certificate, nan for an
        oracle or a baseline.
    refused : str
        Why it does, or empty.
    """

    name: str
    method: Any
    cost: float
    crossover: float
    error: float
    certified: float = math.nan
    refused: str = ""

    def __str__(self) -> str:
        texts = (
            _number(self.cost, ".2g"),
            count(int(self.crossover)) if math.isfinite(self.crossover) else "-",
            _number(self.error, ".3g"),
            _number(self.certified, ".2g"),
        )
        numbers = "".join(f"{text:>8}" for text in texts)
        name = f"{self.name}: {self.refused}" if self.refused else self.name
        first, *more = textwrap.wrap(name, _NAME, break_on_hyphens=False)
        return f"\n{'':<38}".join([f"{numbers}  {first}", *more])


def _number(x: float, form: str) -> str:
    return format(x, form) if math.isfinite(x) else "-"


_NAME = 42
"""Letters of a name beside its numbers on a line of 80, behind an indent of 4."""

HEADER = f"{'cost':>8}{'from n':>8}{'error':>8}{'bound':>8}  method"
"""Cost over that of exact attention; the tokens from which on it is less; the relative error; and
what is certified of it.
"""


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """What the singular values of the rows looked at say, medians over the leading indices.

    Attributes
    ----------
    kappa : float
        ``|P|_F |V|_F / |P V|_F``.
    sketch_rank : float
        Rank (kappa^2 + 1)/0.01 at which a Gaussian sketch of the product P V has relative error 0.1
        on average.
    output_ranks : dict of float to float
        Tolerance -> smallest rank r with ``|P_r V - P V|_F`` within this fraction of ``|P V|_F``;
        never more than the rows looked at.
    """

    kappa: float
    sketch_rank: float
    output_ranks: dict[float, float]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What to try: methods by name, at shares of the cost of exact attention."""

    names: Container[str] | None = None
    budgets: tuple[float, ...] = BUDGETS


def asked(methods: Sequence[str] | None, budgets: Sequence[float] | None) -> Asked:
    """Return what is asked for; None is everything.

    Raises
    ------
    TypeError
        For what is no sequence of names, or of numbers.
    ValueError
        For a name that no method with a price has, and for shares that are not positive.
    """
    names = None if methods is None else tuple(_names(methods))
    if budgets is None:
        return Asked(names=names)
    if isinstance(budgets, str) or not isinstance(budgets, Sequence) or not budgets:
        msg = f"budgets(={budgets!r}) must be shares of the cost of exact attention, as [0.25, 0.5]"
        raise TypeError(msg)
    return Asked(names=names, budgets=tuple(check_positive("budgets", b) for b in budgets))


def _names(methods: Sequence[str]) -> Iterator[str]:
    known = priced_names()
    if isinstance(methods, str) or not isinstance(methods, Sequence) or not methods:
        msg = f"methods(={methods!r}) must be names of methods, as ['Clustered', 'Nystrom']"
        raise TypeError(msg)
    for name in methods:
        if name not in known:
            msg = f"methods(={name!r}): no method of that name has a price; there are {known}"
            raise ValueError(msg)
        yield name


def compare(
    problem: Problem, rng: np.random.Generator, wanted: Asked
) -> tuple[tuple[Trial, ...], Spectrum]:
    """Run methods at every budget on some leading indices, with baselines and the floor of the
    singular values.
    """
    numbers = choose(math.prod(problem.batch), ITEMS, None)
    tried = _tried(problem, wanted)
    _check_comparison(problem, len(numbers), tried)
    parts = [problem.item(_index(int(i), problem.batch)) for i in numbers]
    exact = [exact_rows(part, ROWS) for part in parts]
    prices = [_work(method, problem, len(parts)) for method in tried]
    what = f"comparison of {len(tried)} methods on {len(parts)} leading indices"
    told = reported(
        zip(tried, prices, strict=True), what, WORK * sum(prices), sum(prices), lambda x: x[1]
    )
    trials = [_trial(method, problem, parts, exact, rng) for method, _ in told]
    # two budgets may allow the same degree
    distinct = {trial.name: trial for trial in trials}.values()
    wide = [exact_rows(part, _floor_rows(problem)) for part in parts]
    return (*distinct, *_references(parts, exact, wide, problem, wanted.budgets)), _spectrum(
        parts, wide
    )


def _tried(problem: Problem, wanted: Asked) -> list[Any]:
    """Return the methods that take the problem, at every budget."""
    return [
        method
        for budget in wanted.budgets
        for method in candidates(problem, budget, wanted.names)
        if not why_refused(method, problem)
    ]


def _floor_rows(problem: Problem) -> int:
    return max(ROWS, math.isqrt(FLOOR_WORK // problem.n_k))


def _check_comparison(problem: Problem, items: int, tried: list[Any]) -> None:
    """Refuse a comparison that this machine cannot hold, or that would take too long."""
    rows = min(ROWS + _floor_rows(problem), 2 * problem.n_q)
    kept = items * rows * problem.n_k
    remedy = "give fewer tokens or leading indices, or compare_methods=False (--quick)"
    check_memory("compare_methods", True, kept, "weights of exact rows", remedy)
    work = sum(_work(method, problem, items) for method in tried)
    check_time("compare_methods", True, WORK * work, f"{len(tried)} methods", remedy, PATIENCE)


def _work(method: Any, problem: Problem, items: int) -> float:
    """Return the multiply-adds of a method on so many leading indices."""
    size = problem.n_q, problem.n_k, problem.d, problem.dv
    return float(items * method.cost(*size).multiply_adds)


def _index(number: int, batch: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(number, batch)) if batch else ()


def _trial(
    method: Any,
    problem: Problem,
    parts: list[Problem],
    exact: list[tuple[HostArray, HostArray, HostArray]],
    rng: np.random.Generator,
) -> Trial:
    errors, bounds, refused = [], [], ""
    for part, (chosen, rows, _) in zip(parts, exact, strict=True):
        try:
            found = approximate(method, part, rng)
        except (ValueError, MemoryError) as reason:  # this method's, no reason to end the others
            refused = _why(reason)
            errors.append(math.inf)
            bounds.append(math.inf)
            continue
        errors.append(relative_error(_arrays.to_float64(found.value)[chosen], rows))
        bounds.append(_certified(found.certificate.rows[chosen], rows))
    return Trial(
        name=described(method),
        method=method,
        cost=relative_cost(method, problem),
        crossover=crossover(method, problem),
        error=float(np.median(errors)),
        certified=float(np.median(bounds)),
        refused=refused,
    )


def _why(reason: ValueError | MemoryError) -> str:
    kind = "too much memory, " if isinstance(reason, MemoryError) else ""
    return kind + str(reason).partition(":")[0]


def _certified(bounds: HostArray, rows: HostArray) -> float:
    """Return the bound on the relative error in the Frobenius norm that bounds on the entries of
    each row imply.
    """
    size = max(float(np.linalg.norm(rows)), 1e-300)
    return (
        float(np.linalg.norm(bounds)) * math.sqrt(rows.shape[1]) / size
        if np.isfinite(bounds).all()
        else math.inf
    )


def relative_error(value: HostArray, rows: HostArray) -> float:
    """Return the relative error in the Frobenius norm; inf for what is not finite."""
    size = max(float(np.linalg.norm(rows)), 1e-300)
    found = float(np.linalg.norm(value - rows)) / size
    return found if math.isfinite(found) else math.inf


def exact_rows(part: Problem, rows: int) -> tuple[HostArray, HostArray, HostArray]:
    """Return which rows, evenly spaced, their exact output, and their normalised weights, on the
    host.
    """
    sighted = np.flatnonzero(part.visible_keys)
    chosen = sighted[choose(sighted.size, rows, None)]
    blocks = list(row_blocks(part, chosen))
    outputs = np.concatenate([_arrays.to_float64(b.output()) for b in blocks])
    weights = np.concatenate([_arrays.to_float64(b.weights / b.mass) for b in blocks])
    return chosen, outputs, weights


def mean_error(part: Problem, rows: HostArray, weights: HostArray) -> float:
    """Return the relative error of the mean of v over the keys that each row sees."""
    seen = weights > 0
    mean = seen @ _arrays.to_float64(part.v) / np.sum(seen, axis=1, keepdims=True)
    return relative_error(mean, rows)


def _references(
    parts: list[Problem],
    exact: list[tuple[HostArray, HostArray, HostArray]],
    wide: list[tuple[HostArray, HostArray, HostArray]],
    problem: Problem,
    budgets: tuple[float, ...],
) -> list[Trial]:
    """Return the trivial outputs, and truncated singular values: the best for rank r on the rows of
    `wide`, at no price that counts.
    """
    means, floors = [], []
    ranks = [max(1, int(b * problem.n_k)) for b in budgets]
    for part, (_, rows, weights) in zip(parts, exact, strict=True):
        means.append(mean_error(part, rows, weights))
    for _, rows, weights in wide:
        errors = singular_values.output_errors_of_rows(weights, rows)
        floors.append([float(errors[min(r, errors.size - 1)]) for r in ranks])
    return [
        _reference("zero output", 1.0),
        _reference("mean of v", float(np.median(means))),
        *(
            _reference(f"singular values, rank {r} (oracle)", float(e))
            for r, e in zip(ranks, np.median(np.array(floors), axis=0), strict=True)
        ),
    ]


def _reference(name: str, error: float) -> Trial:
    return Trial(name=name, method=None, cost=math.nan, crossover=math.nan, error=error)


def _spectrum(
    parts: list[Problem], exact: list[tuple[HostArray, HostArray, HostArray]]
) -> Spectrum:
    kappas, ranks = [], []
    for part, (_, rows, weights) in zip(parts, exact, strict=True):
        values = _arrays.to_float64(part.shown(part.v))
        size = max(float(np.linalg.norm(rows)), 1e-300)
        kappas.append(float(np.linalg.norm(weights)) * float(np.linalg.norm(values)) / size)
        errors = singular_values.output_errors_of_rows(weights, rows)
        ranks.append([singular_values.rank_for(errors, tolerance) for tolerance in TOLERANCES])
    kappa = float(np.median(kappas))
    medians = [float(x) for x in np.median(np.array(ranks), axis=0)]
    return Spectrum(
        kappa=kappa,
        sketch_rank=(kappa**2 + 1) / 1e-2,
        output_ranks=dict(zip(TOLERANCES, medians, strict=True)),
    )


def pareto(trials: tuple[Trial, ...]) -> list[Trial]:
    """Return the methods that beat the mean of v and that no other one beats in both cost and
    error, cheapest first.
    """
    best = min(
        (t.error for t in trials if t.method is None and not t.name.startswith("singular")),
        default=math.inf,
    )
    found = []
    for trial in sorted(
        (t for t in trials if t.method is not None), key=lambda t: (t.cost, t.error)
    ):
        if trial.error < best:
            best = trial.error
            found.append(trial)
    return found


def hashes_needed(problem: Problem) -> dict[float, int]:
    """Return the hashes needed for each tolerance, a fraction of the largest oscillation of a
    column, or of its size where all its values are equal.
    """
    v, spread = problem.shown(problem.v), value_spread(problem)
    osc, top = float(np.max(spread.osc)), float(np.max(spread.top))
    size = osc if osc > 1e-9 * top else top or 1.0
    return {t: Yoso.hashes_for(t * size, 0.01, v, queries=problem.n_q) for t in TOLERANCES}
