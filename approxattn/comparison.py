"""Every method that approximates softmax attention, at equal cost a token: predicted cost, measured error, and what nothing of that rank can beat.

Cost model, in multiply-adds a query, forward, n tokens with width d and dv, and s = n_k / n_q keys a query:

    exact                     n_k (d + dv)
    Linformer, mean-pool, k   k (d + dv) + s (d + dv)
    Linformer, row-sample, k  k (d + dv)
    fitted values, rank k     k (d + dv) + s (d + dv) + min(4 k, n_q) (n_k (d + dv) + k (d + dv + k)) / n_q
    Nystrom, L landmarks      L (d + dv) (1 + s) + (L^2 d + 3 t L^3) / n_q, t iterations of three products and one more
    Performer, m features     m (d + dv + 1) (1 + s)
    Polynomial, rank r        r (dv + 2) (1 + s)

A budget is a fraction of the cost of exact attention; each method gets the largest parameter within it. Times differ by a constant factor in either direction. The
crossover is the number of tokens n = n_q = n_k at which the method, its parameter unchanged, costs as much as exact attention.

Errors are relative, in the Frobenius norm, on rows recomputed exactly; the median over the leading indices looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn._problem import Problem
from approxattn.low_rank import oracles
from approxattn.methods.fitted import FittedLinformer
from approxattn.methods.linformer import Linformer
from approxattn.methods.nystrom import Nystrom
from approxattn.methods.performer import Performer
from approxattn.methods.polynomial import Polynomial
from approxattn.monomials.index import rank as features_of
from approxattn.sampled_rows import choose, row_blocks

BUDGETS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
TOLERANCES = (1e-1, 1e-2, 1e-3)

ITEMS = 8
"""Leading indices looked at, evenly spaced. *Chosen*: enough for a median."""

ROWS = 128
"""Rows recomputed for each of them. *Chosen*: the norm of the error is then known to about a tenth."""


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
        Number of tokens from which on the method costs less than exact attention; nan for an oracle.
    error : float
        Median relative error; inf where the method refuses the problem.
    refused : str
        Why it does, or empty.
    """

    name: str
    method: Any
    cost: float
    crossover: float
    error: float
    refused: str = ""

    def __str__(self) -> str:
        numbers = [f"{x:>10.3g}" if math.isfinite(x) else f"{'-':>10}" for x in (self.cost, self.crossover, self.error)]
        return f"{self.name:<42}{''.join(numbers)}" + (f"   {self.refused}" if self.refused else "")


HEADER = f"{'method':<42}{'cost/exact':>10}{'pays from':>10}{'error':>10}"

Cost = Callable[[float, float], float]


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """What the singular values of the rows looked at say, medians over the leading indices.

    Attributes
    ----------
    kappa : float
        ``|P|_F |V|_F / |P V|_F``.
    sketch_rank : float
        Rank (kappa^2 + 1)/0.01 at which a Gaussian sketch of the product P V has relative error 0.1 on average.
    output_ranks : dict of float to float
        Tolerance -> smallest rank r with ``|P_r V - P V|_F`` within this fraction of ``|P V|_F``; never more than the rows looked at.
    """

    kappa: float
    sketch_rank: float
    output_ranks: dict[float, float]


def compare(problem: Problem, rng: np.random.Generator) -> tuple[tuple[Trial, ...], Spectrum]:
    """Run every method at every budget on some leading indices, with baselines and the floor of the singular values."""
    parts = [_item(problem, int(i)) for i in choose(math.prod(problem.batch), ITEMS, None)]
    exact = [_exact_rows(part) for part in parts]
    trials = []
    for budget in BUDGETS:
        for name, method, cost in _candidates(problem, budget):
            if problem.causal and method.why_not_causal:
                continue
            trials.append(_trial(name, method, cost, problem, parts, exact, rng))
    distinct = {trial.name: trial for trial in trials}.values()  # two budgets may allow the same degree
    return (*distinct, *_references(parts, exact, problem)), _spectrum(parts, exact)


def _trial(
    name: str,
    method: Any,
    cost: Cost,
    problem: Problem,
    parts: list[Problem],
    exact: list[tuple[HostArray, HostArray, HostArray]],
    rng: np.random.Generator,
) -> Trial:
    errors, refused = [], ""
    for part, (chosen, rows, _) in zip(parts, exact, strict=True):
        try:
            value = _arrays.to_host(method.compute(part, rng).value).astype(np.float64)[chosen]
        except ValueError as reason:
            refused = str(reason).partition(":")[0]
            errors.append(math.inf)
            continue
        errors.append(_relative(value, rows))
    relative = cost(problem.n_q, problem.n_k) / _exact_cost(problem, problem.n_k)
    return Trial(
        name=name,
        method=method,
        cost=relative,
        crossover=_crossover(cost, problem),
        error=float(np.median(errors)),
        refused=refused,
    )


def _relative(value: HostArray, rows: HostArray) -> float:
    """Return the relative error in the Frobenius norm; inf for what is not finite."""
    size = max(float(np.linalg.norm(rows)), 1e-300)
    found = float(np.linalg.norm(value - rows)) / size
    return found if math.isfinite(found) else math.inf


def _exact_cost(problem: Problem, n_k: float) -> float:
    return n_k * (problem.d + problem.dv)


def _crossover(cost: Cost, problem: Problem) -> float:
    """Return the number of tokens, by doubling and bisection."""

    def dearer(n: int) -> bool:
        return cost(n, n) > _exact_cost(problem, n)

    low, high = 0, 1
    while dearer(high) and high < 2**200:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if dearer(middle) else (low, middle)
    return float(high)


def _candidates(problem: Problem, budget: float) -> list[tuple[str, Any, Cost]]:
    """Return each method with the largest parameter that the budget allows, and its cost a query."""
    d, dv = problem.d, problem.dv
    width, n_q, n_k = d + dv, problem.n_q, problem.n_k

    def pool(k: int) -> Cost:
        return lambda q, n: k * width + n / q * width

    def rows(k: int) -> Cost:
        return lambda _q, _n: k * width

    def fitted(k: int) -> Cost:
        return lambda q, n: (k + n / q) * width + min(4 * k, q) * (n * width + k * (width + k)) / q

    def landmarks(count: int) -> Cost:
        return lambda q, n: count * width * (1 + n / q) + (count**2 * d + 24 * count**3) / q

    def features(m: int) -> Cost:
        return lambda q, n: m * (width + 1) * (1 + n / q)

    def monomials(g: int) -> Cost:
        return lambda q, n: min(features_of(d, g), 10**200) * (dv + 2) * (1 + n / q)

    allowed = budget * _exact_cost(problem, n_k)
    found: list[tuple[str, Any, Cost]] = []
    makers: tuple[tuple[Callable[[int], Cost], Callable[[int], Any], int, str], ...] = (
        (pool, lambda k: Linformer(rank=k, sketch="mean-pool"), 1, "Linformer(rank={}, sketch='mean-pool')"),
        (rows, lambda k: Linformer(rank=k, sketch="row-sample"), 1, "Linformer(rank={}, sketch='row-sample')"),
        (fitted, lambda k: FittedLinformer(rank=k), 1, "FittedLinformer(rank={})"),
        (landmarks, lambda k: Nystrom(landmarks=k), 1, "Nystrom(landmarks={})"),
        (features, lambda m: Performer(features=m), 1, "Performer(features={})"),
        (monomials, lambda g: Polynomial(degree=g, basis="taylor"), 2, "Polynomial(degree={}, basis='taylor')"),
    )
    for cost_of, make, step, name in makers:
        value = _largest(partial(_affordable, cost_of, allowed, n_q, n_k), step)
        if value:
            found.append((name.format(value), make(value), cost_of(value)))
    return found


def _affordable(cost_of: Callable[[int], Cost], allowed: float, n_q: int, n_k: int, parameter: int) -> bool:
    return cost_of(parameter)(n_q, n_k) <= allowed


def _largest(allowed: Callable[[int], bool], step: int) -> int:
    """Return the largest multiple of `step` that is allowed, 0 if none: allowed numbers are those up to some point."""
    if not allowed(step):
        return 0
    low, high = 1, 2
    while allowed(high * step):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if allowed(middle * step) else (low, middle)
    return low * step


def _item(problem: Problem, number: int) -> Problem:
    index = tuple(int(i) for i in np.unravel_index(number, problem.batch)) if problem.batch else ()
    q, k, v = (x[(*index, ...)] for x in (problem.q, problem.k, problem.v))
    mask = None if problem.key_mask is None else problem.key_mask[(*index, ...)]
    return replace(problem, q=q, k=k, v=v, key_mask=mask)


def _exact_rows(part: Problem) -> tuple[HostArray, HostArray, HostArray]:
    """Return which rows, their exact output, and their normalised weights, on the host."""
    chosen = choose(part.n_q, ROWS, None)
    blocks = list(row_blocks(part, chosen))
    outputs = np.concatenate([_arrays.to_host(b.output()).astype(np.float64) for b in blocks])
    weights = np.concatenate([_arrays.to_host(b.weights).astype(np.float64) for b in blocks])
    return chosen, outputs, weights / np.sum(weights, axis=1, keepdims=True)


def _references(
    parts: list[Problem], exact: list[tuple[HostArray, HostArray, HostArray]], problem: Problem
) -> list[Trial]:
    """Return the trivial outputs, and truncated singular values of the rows looked at: a floor for rank r, at no price that counts."""
    means, floors = [], []
    ranks = [max(1, int(b * problem.n_k)) for b in BUDGETS]
    for part, (_, rows, weights) in zip(parts, exact, strict=True):
        seen = weights > 0
        values = _arrays.to_host(part.v).astype(np.float64)
        mean = seen @ values / np.sum(seen, axis=1, keepdims=True)
        means.append(_relative(mean, rows))
        errors = oracles.output_errors(weights, values)
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


def _spectrum(parts: list[Problem], exact: list[tuple[HostArray, HostArray, HostArray]]) -> Spectrum:
    kappas, ranks = [], []
    for part, (_, rows, weights) in zip(parts, exact, strict=True):
        values = _arrays.to_host(part.v).astype(np.float64)
        if part.key_mask is not None:
            values = np.where(_arrays.to_host(part.key_mask)[:, None], values, 0.0)
        size = max(float(np.linalg.norm(rows)), 1e-300)
        kappas.append(float(np.linalg.norm(weights)) * float(np.linalg.norm(values)) / size)
        errors = oracles.output_errors(weights, values)
        ranks.append([oracles.rank_for(errors, tolerance) for tolerance in TOLERANCES])
    kappa = float(np.median(kappas))
    medians = [float(x) for x in np.median(np.array(ranks), axis=0)]
    return Spectrum(
        kappa=kappa, sketch_rank=(kappa**2 + 1) / 1e-2, output_ranks=dict(zip(TOLERANCES, medians, strict=True))
    )


def pareto(trials: tuple[Trial, ...]) -> list[Trial]:
    """Return the methods that beat the mean of v and that no other one beats in both cost and error, cheapest first."""
    best = min((t.error for t in trials if t.method is None and not t.name.startswith("singular")), default=math.inf)
    found = []
    for trial in sorted((t for t in trials if t.method is not None), key=lambda t: (t.cost, t.error)):
        if trial.error < best:
            best = trial.error
            found.append(trial)
    return found
