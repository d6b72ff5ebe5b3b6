"""The polynomial that fits sampled rows of the data at hand.

Symbols. Those of `reduction`; o_i is the exact output of row i, P the polynomial sought, N_i =
sum_j w_j P(s_ij) v_j and D_i = sum_j w_j P(s_ij) its sums, sigma^2 = mean |v_j - mean|^2, lambda a
number.

1. N_i / D_i - o_i = sum_j w_j P(s_ij) (v_j - o_i) / D_i, linear in the coefficients but for D_i.
2. Z_i stands in for D_i there, and mean_i D_i / Z_i = 1 over the sampled rows is asked for.
3. Least squares: sum_i |sum_j w_j P(s_ij) (v_j - o_i)|^2 / (sigma Z_i)^2 + lambda sum_ij (w_j
   (P(s_ij) - exp(s_ij)) / Z_i)^2. The second part, P near exp where the scores are, decides what
   the first leaves open.
4. All sums are moments of the scores: O(n (d + g dv)) a sampled row.
5. Where Taylor's polynomial is as good as the least squares can tell, it is taken: for scores of
   size S, where S^{g+1} / (g+1)! is at most the ridge of the normal equations. So scores of almost
   nothing give the mean of the values, and no power of S underflows.
6. Keys pass twice in blocks: the first pass finds Z_i and o_i (streaming, as in
   `softmax.streaming`), the second adds up the moments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn.methods.polynomials.fitting.reduction import ReducedScores, parts

NEAR_EXP = 1e-2
"""lambda. *Chosen*: anything from 0 to 0.1 gave the same errors on the 72 heads of a small language
model.
"""

RIDGE = 1e-10
"""Of the scaled normal equations. *Chosen*: no direction is trusted beyond five digits."""

SCORES_AT_ONCE = 2**18
"""Scores of the rows fitted that are held at one time. *Chosen*: 2 MiB in float64."""


def fit_coefficients(reduced: ReducedScores, rows: HostArray, degree: int) -> tuple[float, ...]:
    """Return c_0 ... c_g fitted to the rows given, for one leading index."""
    taylor = tuple(1 / math.factorial(t) for t in range(degree + 1))
    if degree == 0:
        return taylor
    met = _Met(reduced=reduced, rows=rows)
    size, exact = _exact_rows(met)
    if _taylor_will_do(size, degree):
        return taylor
    moments = _moments(met, exact, size, degree)
    coefficients = _solve(*moments, _spread(reduced))
    if coefficients is None:  # no row says anything, or float64 cannot hear it
        return taylor
    unit = np.float64(size)  # whose powers may be inf
    with np.errstate(over="ignore"):
        return tuple(float(c / unit**t) for t, c in enumerate(coefficients))


class _Part(NamedTuple):
    """Some keys that the rows fitted meet: scores, logarithms of the weights (-inf where a row may
    not look), both (rows, keys), and values, (keys, dv), in float64.
    """

    scores: Array
    logs: Array
    v: Array


class _Exact(NamedTuple):
    """Largest logit, Z_i over its exponential, shapes (rows, 1), and exact output, (rows, dv)."""

    top: Array
    total: Array
    output: Array


@dataclass(frozen=True, kw_only=True)
class _Met:
    """The rows fitted, with the keys that they meet, some at a time."""

    reduced: ReducedScores
    rows: HostArray

    def __iter__(self) -> Iterator[_Part]:
        problem, xp = self.reduced.problem, self.reduced.problem.xp
        queries = self.reduced.of_queries(self.rows).queries
        number = _arrays.from_host(self.rows, problem.q)[:, None]
        for part in parts(problem.n_k, max(1, SCORES_AT_ONCE // len(self.rows))):
            some = self.reduced.of_keys(part)
            scores = xp.matmul(queries, xp.matrix_transpose(some.keys))
            seen = some.weights > 0
            logs = xp.log(xp.where(seen, some.weights, xp.ones_like(some.weights)))
            logs = xp.where(seen, logs, xp.full_like(logs, -xp.inf))
            logs = xp.broadcast_to(xp.matrix_transpose(logs), scores.shape)
            if problem.causal:
                there = xp.arange(part.start, part.stop, device=_arrays.device(problem.q))
                logs = xp.where(number >= there[None, :], logs, xp.full_like(logs, -xp.inf))
            yield _Part(scores, logs, _arrays.cast(some.problem.v, "float64", xp))


def _exact_rows(met: _Met) -> tuple[float, _Exact]:
    """Return the largest score of a key, and the exact rows, by the streaming softmax."""
    xp, size, found = met.reduced.problem.xp, 0.0, None
    for part in met:
        size = max(size, float(xp.max(xp.abs(part.scores))))
        logits = part.scores + part.logs
        top = xp.max(logits, axis=-1, keepdims=True)
        top = top if found is None else xp.maximum(top, found.top)
        finite = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
        exact = xp.exp(logits - finite)
        total, output = xp.sum(exact, axis=-1, keepdims=True), xp.matmul(exact, part.v)
        if found is not None:
            shrink = xp.exp(found.top - finite)
            total, output = total + shrink * found.total, output + shrink * found.output
        found = _Exact(top, total, output)
    assert found is not None  # noqa: S101 - there is a key
    return size, found._replace(output=found.output / found.total)


def _taylor_will_do(size: float, degree: int) -> bool:
    """Tell whether Taylor's polynomial is within the ridge of exp for scores of that size."""
    if not size > 0:
        return True
    exponent = (degree + 1) * math.log(size) - math.lgamma(degree + 2)
    return exponent <= math.log(RIDGE)


def _spread(reduced: ReducedScores) -> float:
    """Return the mean squared distance of the visible values from their mean."""
    xp, count = reduced.problem.xp, 0.0
    sums: Array = None
    for keep, v in _visible(reduced):
        part = xp.sum(keep * v, axis=0, keepdims=True)
        sums = part if sums is None else sums + part
        count += float(xp.sum(keep))
    squares = 0.0
    for keep, v in _visible(reduced):
        far = (v - sums / count) * keep
        squares += float(xp.sum(far * far))
    return squares / count


def _visible(reduced: ReducedScores) -> Iterator[tuple[Array, Array]]:
    """Yield which keys weigh something, as numbers, and their values, some at a time."""
    xp = reduced.problem.xp
    for part in parts(reduced.problem.n_k):
        some = reduced.of_keys(part)
        v = _arrays.cast(some.problem.v, "float64", xp)
        yield xp.astype(some.weights > 0, v.dtype), v


def _moments(
    met: _Met, exact: _Exact, size: float, degree: int
) -> tuple[HostArray, HostArray, HostArray, HostArray]:
    """Return D / Z, shape (rows, g + 1), the errors of the powers, (rows dv, g + 1), their
    products, (2 g + 1,), and those with exp, (g + 1,).
    """
    xp, (top, total, output) = met.reduced.problem.xp, exact
    low: list[Any] = [0.0] * (degree + 1)
    error: list[Any] = [0.0] * (degree + 1)
    square, cross = np.zeros(2 * degree + 1), np.zeros(degree + 1)
    for part in met:
        v, unit = part.v, part.scores / size
        softmax = xp.exp(part.scores + part.logs - top) / total
        share = part.logs - top  # of a row with e^80 < w_j / Z_i no fit is worth having
        share = xp.exp(xp.minimum(share, xp.full_like(share, 80.0))) / total  # w_j / Z_i
        power = xp.ones_like(unit)
        for t in range(2 * degree + 1):
            term = share * power
            square[t] += float(xp.sum(term * share))
            if t <= degree:
                low[t] += _arrays.to_host(xp.sum(term, axis=-1))
                gap = xp.matmul(term, v) - xp.sum(term, axis=-1, keepdims=True) * output
                error[t] += _arrays.to_host(gap).ravel()
                cross[t] += float(xp.sum(term * softmax))
            power = power * unit
    return np.stack(low, axis=-1), np.stack(error, axis=-1), square, cross


def _solve(
    size: HostArray, error: HostArray, square: HostArray, cross: HostArray, spread: float
) -> HostArray | None:
    """Return the c of least |error c|^2 / spread + lambda (c^T H c - 2 cross . c), where H_st =
    square_{s+t}, with mean(size) . c = 1; None if there is none.
    """
    index = np.arange(size.shape[-1])
    with np.errstate(over="ignore", invalid="ignore"):
        gram = error.T @ error / spread if spread > 0 else np.zeros((index.size, index.size))
        gram = gram + NEAR_EXP * square[index[:, None] + index]
    diagonal = np.diag(gram)
    mean = size.mean(axis=0)
    if not (np.all(np.isfinite(gram)) and np.all(diagonal > 0)):
        return None
    scaling = 1 / np.sqrt(diagonal)
    system = gram * scaling[:, None] * scaling + RIDGE * np.eye(index.size)
    free, bound = (
        np.linalg.solve(system, side * scaling) * scaling for side in (NEAR_EXP * cross, mean)
    )
    if not mean @ bound > 0:
        return None
    solution = free + bound * (1 - mean @ free) / (mean @ bound)
    return solution if np.all(np.isfinite(solution)) else None
