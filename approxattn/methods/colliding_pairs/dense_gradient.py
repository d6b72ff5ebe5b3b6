"""Gradient of BERT-LSH for the hashes drawn: that of a softmax whose logits depend on q and k where
a pair collided, and are constants elsewhere.

Symbols. w_i = softmax(l_i) are the weights of the logits l_i, G the cotangent, z_ij = G_i . v_j and
kappa_i = G_i . out_i. The gradient with respect to a logit is P_ij = w_ij (z_ij - kappa_i), kept
where the pair collided.

Gradients.

1. "corrected", l_ij = beta q_i . k_j: dq = beta P k, dk = beta P^T q, dv = w^T G.
2. "paper-code", l_ij = beta q_a . k_b with a = min(i, j), b = max(i, j): P_ij goes to dq_a and to
   dk_b, so below the diagonal to dq_j and dk_i.

Rounding (proved here), as in `bounds/gradients.py`. Logits are off by eta, so ln rho <= 2 eta;
omega_i is the oscillation of z_i, and e_i the error of row P_i in l1 norm.

1. The logits move P_i by omega_i eta / 2 in l1 norm.
2. The noise of the weights counts 2 |G_i|_1 max|V| times, that of z - kappa twice. These three make
   e_i. Entries that are dropped afterwards take no error with them.
3. Every row of dq is off by at most beta max|k| e_i, every row of dk by beta sum_i |q_i| e_i.
4. Where rows are mirrored: by beta max|k| (e_i + sum e) and by beta max|q| (e_i + sum e).

Underflow (proved here). w0 is the smallest normal number, and |P_i|_1 <= Z_i = 2 |G_i|_1 max|V|.

1. The products behind z, kappa and P lose at most (n_k + 4 dv + 8) w0 (1 + Z_i) in e_i.
2. beta q in P beta q loses w0 |P_ij| <= w0 Z_i.
3. The last products lose w0 each, times beta where that is the last factor.
4. Steps 2 and 3 take at most (n_q + n_k + 8) (1 + beta) w0 sum_i (1 + Z_i) from any row.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.gradients import GradientBounds, cotangent_size
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import EXP_ULPS, blocked_sum_terms, gamma, up
from approxattn.bounds.scores import key_norms, query_norms, value_spread
from approxattn.bounds.softmax import score_rounding, softmax_rounding
from approxattn.methods.colliding_pairs.dense import DenseLogits, upper_triangle
from approxattn.softmax.scores import row_softmax, rows_at_once


def logit_gradient(logits: DenseLogits, dout: Array) -> tuple[Array, Array, Array]:
    """Return dq, dk, dv for the cotangent dout, shape (..., n_q, dv)."""
    problem, mirrored = logits.problem, logits.mirror
    xp, step = problem.xp, rows_at_once(problem, problem.n_k)
    q, k, v = problem.q * problem.scale, problem.k, problem.v
    dq: list[Array] = []
    dk, dv = xp.zeros_like(k), xp.zeros_like(v)
    dq_below = xp.zeros_like(q)
    dk_below: list[Array] = []
    for first in range(0, problem.n_q, step):
        last = min(first + step, problem.n_q)
        rows = logits.block(first, last)
        stop = rows.logits.shape[-1]
        g = dout[..., first:last, :]
        weights = row_softmax(rows.hidden(xp), xp)
        z = xp.matmul(g, xp.matrix_transpose(v[..., :stop, :]))
        p = weights * (z - xp.sum(weights * z, axis=-1, keepdims=True))
        p = xp.where(rows.met, p, xp.zeros_like(p))
        above = p
        if mirrored:
            above, below = _split(p, first, problem)
            dq_below = (
                dq_below
                + xp.matmul(xp.matrix_transpose(below), k[..., first:last, :]) * problem.scale
            )
            dk_below.append(xp.matmul(below, q))
        dq.append(xp.matmul(above, k[..., :stop, :]) * problem.scale)
        dk = _grown(dk, xp.matmul(xp.matrix_transpose(above), q[..., first:last, :]), problem)
        dv = _grown(dv, xp.matmul(xp.matrix_transpose(weights), g), problem)
    whole = xp.concat(dq, axis=-2)
    return (
        (whole + dq_below, dk + xp.concat(dk_below, axis=-2), dv) if mirrored else (whole, dk, dv)
    )


def _split(p: Array, first: int, problem: Problem) -> tuple[Array, Array]:
    """Return the part on and above the diagonal, and the part below it."""
    xp = problem.xp
    upper, zero = upper_triangle(p, first, xp), xp.zeros_like(p)
    return xp.where(upper, p, zero), xp.where(upper, zero, p)


def _grown(total: Array, part: Array, problem: Problem) -> Array:
    """Return total + part, where part may lack the last rows: under a causal mask a block ends with
    its last query.
    """
    xp, have = problem.xp, part.shape[-2]
    if have < total.shape[-2]:
        part = xp.concat([part, xp.zeros_like(total[..., have:, :])], axis=-2)
    return total + part


def logit_gradient_rounding(
    problem: Problem,
    dout: Array,
    bound: HostArray,
    *,
    mirrored: bool,
    output_loss: HostArray | float = 0.0,
    pair_sums: float = 0.0,
) -> GradientBounds:
    """Return the bounds on the rounding errors, for logits of size at most `bound`, shape (...,
    n_q).

    `output_loss`, shape (..., n_q), is what the output is off by beyond `bounds/softmax.py`, in
    units of max|V|; `pair_sums` the relative error of the sums by key (`gradient.py`), 0 for a
    dense product.
    """
    u, beta, size = problem.u, problem.scale, cotangent_size(dout, problem.xp)  # (..., n_q)
    log_ratio = 2 * (score_rounding(problem, bound) + u * (EXP_ULPS + 4 + 4 * bound) * 3)
    blocks = -(-problem.n_q // rows_at_once(problem, problem.n_k))
    terms = 2 * problem.n_k + blocked_sum_terms(problem.n_q, 1) + blocks + problem.dv + 16
    w0 = _arrays.smallest_normal(problem.dtype)
    noise = gamma(2 * terms, u) + 2 * pair_sums + 4 * problem.n_k * w0
    loss = w0 * (1 + 2 * size * value_spread(problem).top[..., None])  # w0 (1 + Z_i)
    rows = up(
        _row_errors(problem, size, bound, log_ratio, noise, output_loss)
        + (problem.n_k + 4 * problem.dv + 8) * loss
    )
    dq, dk = _spread_over(problem, rows, mirrored=mirrored)
    weights = tv_from_log_ratio(log_ratio) + (4 * noise if pair_sums else noise)
    dv = np.sum(weights * size, axis=-1, keepdims=True)
    tiny = (problem.n_q + problem.n_k + 8) * (1 + beta) * np.sum(loss, axis=-1, keepdims=True)
    shape = (*problem.batch, problem.n_k)
    return GradientBounds(
        dq=up(dq + tiny),
        dk=np.broadcast_to(up(dk + tiny), shape),
        dv=np.broadcast_to(up(dv + tiny), shape),
    )


def _row_errors(
    problem: Problem,
    size: HostArray,
    bound: HostArray,
    log_ratio: HostArray,
    noise: float,
    output_loss: HostArray | float,
) -> HostArray:
    """Return e_i, underflow apart: steps 1 and 2."""
    spread = value_spread(problem)
    inexact = (2 * gamma(problem.dv + 4, problem.u) + output_loss) * spread.top[..., None]
    pair = size * (inexact + softmax_rounding(problem, bound, problem.n_k))
    return np.asarray(
        size * spread.osc[..., None] * log_ratio / 4
        + 2 * noise * size * spread.top[..., None]
        + 2 * pair
    )


def _spread_over(
    problem: Problem, rows: HostArray, *, mirrored: bool
) -> tuple[HostArray, HostArray]:
    """Return the errors of dq and dk that errors e_i of the rows of P make: steps 3 and 4."""
    beta, queries = problem.scale, query_norms(problem)
    keys = np.max(key_norms(problem), axis=-1, keepdims=True)
    if not mirrored:
        return beta * keys * rows, beta * np.sum(queries * rows, axis=-1, keepdims=True)
    both = rows + np.sum(rows, axis=-1, keepdims=True)
    return beta * keys * both, beta * np.max(queries, axis=-1, keepdims=True) * both
