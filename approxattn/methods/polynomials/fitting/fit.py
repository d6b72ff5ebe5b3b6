"""Scores made small, and the polynomial that fits sampled rows of the data at hand.

Symbols. s_ij are the scores of shifted queries and keys (`shift`), w_j the weights of the keys, Z_i
= sum_j w_j exp(s_ij), o_i the exact output of row i. P is the polynomial sought, N_i = sum_j w_j
P(s_ij) v_j and D_i = sum_j w_j P(s_ij) its sums, sigma^2 = mean |v_j - mean|^2, lambda a number.

Reduction.

1. m is the mean of the queries, c the w-weighted mean of the keys.
2. So the w-weighted mean score of every row is 0, and by Jensen's inequality Z_i >= W = sum_j w_j.
3. Under a causal mask later keys must not weigh in, and w_j may underflow for all keys that an
   early row sees: there m = 0 and w = 1.

Fit.

1. N_i / D_i - o_i = sum_j w_j P(s_ij) (v_j - o_i) / D_i, linear in the coefficients but for D_i.
2. Z_i stands in for D_i there, and mean_i D_i / Z_i = 1 over the sampled rows is asked for.
3. Least squares: sum_i |sum_j w_j P(s_ij) (v_j - o_i)|^2 / (sigma Z_i)^2 + lambda sum_ij (w_j
   (P(s_ij)
   - exp(s_ij)) / Z_i)^2. The second part, P near exp where the scores are, decides what the first
   leaves open.
4. All sums are moments of the scores: O(n (d + g dv)) a sampled row.
5. Where Taylor's polynomial is as good as the least squares can tell, it is taken: for scores of
   size S, where S^{g+1} / (g+1)! is at most the ridge of the normal equations. So scores of almost
   nothing give the mean of the values, and no power of S underflows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem import Problem
from approxattn.bounds.scores import key_centre
from approxattn.methods.polynomials.shift import log_weights, shift_keys

NEAR_EXP = 1e-2
"""lambda. *Chosen*: anything from 0 to 0.1 gave the same errors on the 72 heads of a small language
model.
"""

RIDGE = 1e-10
"""Of the scaled normal equations. *Chosen*: no direction is trusted beyond five digits."""


@dataclass(frozen=True, kw_only=True)
class ReducedScores:
    """What the reduction makes of queries and keys, in its own dtype.

    Attributes
    ----------
    shifted, keys, weights : array, shapes (..., n_q, d), (..., n_k, d), (..., n_k, 1)
        q_i - m, k_j less both its centres, and w_j; 0 for masked keys.
    middle, centre : array, shape (..., 1, d)
        m, and c less the mean of the visible keys.
    scale : float
        beta.
    """

    shifted: Array
    keys: Array
    weights: Array
    middle: Array
    centre: Array
    scale: float

    @property
    def queries(self) -> Array:
        """beta (q_i - m): their products with the keys are the scores."""
        return self.shifted * self.scale

    def item(self, index: tuple[int, ...]) -> ReducedScores:
        """Return one leading index, without leading axes."""
        shifted, keys, weights, middle, centre = (
            x[(*index, ...)]
            for x in (self.shifted, self.keys, self.weights, self.middle, self.centre)
        )
        return replace(
            self, shifted=shifted, keys=keys, weights=weights, middle=middle, centre=centre
        )


def reduce_scores(problem: Problem) -> ReducedScores:
    """Return the reduction in float64 (or the library's widest dtype)."""
    xp = problem.xp
    q = _arrays.cast(problem.q, "float64", xp)
    mean_key = _arrays.cast(key_centre(problem), "float64", xp)
    keys = shift_keys(problem, mean_key, "float64")
    if problem.causal:
        weights = problem.shown(xp.ones_like(keys[..., :1]))
        none = xp.zeros_like(mean_key)
        return ReducedScores(
            shifted=q,
            keys=keys,
            weights=weights,
            middle=none,
            centre=none,
            scale=problem.scale,
        )
    middle = xp.mean(q, axis=-2, keepdims=True)
    weights = xp.exp(log_weights(problem, keys, middle))
    total = xp.sum(weights, axis=-2, keepdims=True)
    centre = xp.sum(weights * keys, axis=-2, keepdims=True) / total
    return ReducedScores(
        shifted=q - middle,
        keys=problem.shown(keys - centre),
        weights=weights,
        middle=middle,
        centre=centre,
        scale=problem.scale,
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
    taylor = tuple(1 / math.factorial(t) for t in range(degree + 1))
    if degree == 0 or _taylor_will_do(size, degree):
        return taylor
    weights = xp.broadcast_to(xp.matrix_transpose(reduced.weights), scores.shape)
    if causal:
        past = number[:, None] >= xp.arange(scores.shape[-1], device=_arrays.device(v))[None, :]
        weights = weights * xp.astype(past, weights.dtype)
    moments = _moments(scores / size, scores, weights, v, degree, xp)
    coefficients = _solve(*moments, _spread(v, reduced.weights > 0, xp))
    if coefficients is None:  # no row says anything, or float64 cannot hear it
        return taylor
    unit = np.float64(size)  # whose powers may be inf
    with np.errstate(over="ignore"):
        return tuple(float(c / unit**t) for t, c in enumerate(coefficients))


def _taylor_will_do(size: float, degree: int) -> bool:
    """Tell whether Taylor's polynomial is within the ridge of exp for scores of that size."""
    if not size > 0:
        return True
    exponent = (degree + 1) * math.log(size) - math.lgamma(degree + 2)
    return exponent <= math.log(RIDGE)


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
    logs = xp.log(xp.where(seen, weights, xp.ones_like(weights)))
    logits = xp.where(seen, scores + logs, xp.full_like(scores, -xp.inf))
    top = xp.max(logits, axis=-1, keepdims=True)
    exact = xp.exp(logits - top)
    total = xp.sum(exact, axis=-1, keepdims=True)
    share = logs - top  # of a row with e^80 < w_j / Z_i no fit is worth having
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
