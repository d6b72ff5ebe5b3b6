"""Scores made small without changing attention, and the polynomial that fits sampled rows of the
data at hand.

Reduction (proved here; exact). With any vectors m, c, and weights w_j = exp(beta m . k_j),

    exp(beta q_i . k_j) = exp(beta (q_i - m) . c) w_j exp(beta (q_i - m) . (k_j - c)),

and the first factor depends on i only, so the division removes it: attention is that of q - m and k
- c with keys weighted by w. Here m is the mean of the queries and c the w-weighted mean of the
keys, so that the w-weighted mean score of every row is 0, and by Jensen

    Z_i = sum_j w_j exp(s_ij) >= W = sum_j w_j.

Under a causal mask later keys must not weigh in, and w_j may underflow for all keys that an early
row sees: there m = 0, w = 1.

Fit. A polynomial P gives row i the output N_i / D_i, N_i = sum_j w_j P(s_ij) v_j, D_i = sum_j w_j
P(s_ij). With o_i the exact output, its error is

    N_i / D_i - o_i = sum_j w_j P(s_ij) (v_j - o_i) / D_i,

linear in the coefficients but for D_i. With Z_i in its place, and mean_i D_i / Z_i = 1 over the
sampled rows, least squares in the coefficients is

    sum_i |sum_j w_j P(s_ij) (v_j - o_i)|^2 / (sigma Z_i)^2  +  lambda sum_ij (w_j (P(s_ij) -
        exp(s_ij)) / Z_i)^2,    sigma^2 = mean |v_j - mean|^2,

whose second part, P near exp where the scores are, decides what the first leaves open. All sums are
moments of the scores: O(n (d + g dv)) a sampled row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem import Problem
from approxattn.bounds.scores import key_centre

NEAR_EXP = 1e-2
"""lambda. *Chosen*: anything from 0 to 0.1 gave the same errors on the 72 heads of a small language
model.
"""

_RIDGE = 1e-10  # of the scaled normal equations: no direction is trusted beyond five digits


@dataclass(frozen=True, kw_only=True)
class ReducedScores:
    """Queries, keys and weights of the reduction, shapes (..., n_q, d), (..., n_k, d), (..., n_k,
    1); beta is in the queries; w is 0 for masked keys.
    """

    queries: Array
    keys: Array
    weights: Array


def reduce_scores(problem: Problem) -> ReducedScores:
    """Return the reduction in float64 (or the library's widest dtype)."""
    xp = problem.xp
    q, k = (_arrays.cast(x, "float64", xp) for x in (problem.q, problem.k))
    keys = k - _arrays.cast(key_centre(problem), "float64", xp)
    keep = xp.ones_like(keys[..., :1])
    if problem.key_mask is not None:
        keep = xp.astype(problem.key_mask, keys.dtype)[..., None]
        keys = keys * keep
    if problem.causal:
        return ReducedScores(queries=q * problem.scale, keys=keys, weights=keep)
    middle = xp.mean(q, axis=-2, keepdims=True)
    slope = problem.scale * xp.sum(keys * middle, axis=-1, keepdims=True)
    shown = xp.where(keep > 0, slope, xp.full_like(slope, -xp.inf))
    weights = keep * xp.exp(
        xp.where(keep > 0, slope - xp.max(shown, axis=-2, keepdims=True), xp.zeros_like(slope))
    )
    centre = xp.sum(weights * keys, axis=-2, keepdims=True) / xp.sum(
        weights, axis=-2, keepdims=True
    )
    return ReducedScores(
        queries=(q - middle) * problem.scale, keys=(keys - centre) * keep, weights=weights
    )


def fit_coefficients(
    reduced: ReducedScores, v: Array, rows: HostArray, degree: int, causal: bool, xp: Namespace
) -> tuple[float, ...]:
    """Return c_0 ... c_g fitted to the rows given, for one leading index: arrays without batch
    axes, v in the dtype of the reduction.
    """
    number = _arrays.from_host(rows, v)
    # (rows, n)
    scores = xp.matmul(xp.take(reduced.queries, number, axis=0), xp.matrix_transpose(reduced.keys))
    size = float(xp.max(xp.abs(scores)))
    weights = xp.broadcast_to(xp.matrix_transpose(reduced.weights), scores.shape)
    if causal:
        past = number[:, None] >= xp.arange(scores.shape[-1], device=_arrays.device(v))[None, :]
        weights = weights * xp.astype(past, weights.dtype)
    if not size > 0 or degree == 0:
        return (1.0, *(0.0,) * degree)
    moments = _moments(scores / size, scores, weights, v, degree, xp)
    coefficients = _solve(*moments, _spread(v, reduced.weights > 0, xp))
    if coefficients is None:  # no row says anything, or float64 cannot hear it
        coefficients = np.asarray([size**t / math.factorial(t) for t in range(degree + 1)])
    return tuple(float(c) / size**t for t, c in enumerate(coefficients))


def _spread(v: Array, visible: Array, xp: Namespace) -> float:
    """Return the mean squared distance of the visible values, shape (n, dv), from their mean;
    visible is (n, 1).
    """
    keep = xp.astype(visible, v.dtype)
    count = xp.sum(keep)
    far = (v - xp.sum(keep * v, axis=0, keepdims=True) / count) * keep
    return float(xp.sum(far * far) / count)


def _moments(
    unit: Array, scores: Array, weights: Array, v: Array, degree: int, xp: Namespace
) -> tuple[HostArray, HostArray, HostArray, HostArray]:
    """Return D / Z, shape (rows, g + 1), the errors of the powers, (rows dv, g + 1), their
    products, (2 g + 1,), and those with exp, (g + 1,).
    """
    seen = weights > 0
    log_weights = xp.log(xp.where(seen, weights, xp.ones_like(weights)))
    logits = xp.where(seen, scores + log_weights, xp.full_like(scores, -xp.inf))
    top = xp.max(logits, axis=-1, keepdims=True)
    exact = xp.exp(logits - top)
    total = xp.sum(exact, axis=-1, keepdims=True)
    share = log_weights - top  # of a row with e^80 < w_j / Z_i no fit is worth having
    share = (
        xp.where(seen, xp.exp(xp.minimum(share, xp.full_like(share, 80.0))), xp.zeros_like(share))
        / total
    )  # w_j / Z_i
    softmax = exact / total
    output = xp.matmul(softmax, v)
    size, error, square, cross = [], [], [], []
    power = xp.ones_like(unit)
    for t in range(2 * degree + 1):
        term = share * power
        square.append(float(xp.sum(term * share)))
        if t <= degree:
            size.append(_arrays.to_host(xp.sum(term, axis=-1)))
            error.append(
                _arrays.to_host(
                    xp.matmul(term, v) - xp.sum(term, axis=-1, keepdims=True) * output
                ).ravel()
            )
            cross.append(float(xp.sum(term * softmax)))
        power = power * unit
    return np.stack(size, axis=-1), np.stack(error, axis=-1), np.asarray(square), np.asarray(cross)


def _solve(
    size: HostArray, error: HostArray, square: HostArray, cross: HostArray, spread: float
) -> HostArray | None:
    """Minimise |error c|^2 / spread + lambda (c .

    H c - 2 cross . c), H_st = square_{s+t}, subject to mean(size) . c = 1.
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
    system = gram * scaling[:, None] * scaling + _RIDGE * np.eye(index.size)
    free, bound = (
        np.linalg.solve(system, side * scaling) * scaling for side in (NEAR_EXP * cross, mean)
    )
    if not mean @ bound > 0:
        return None
    found = free + bound * (1 - mean @ free) / (mean @ bound)
    return found if np.all(np.isfinite(found)) else None
