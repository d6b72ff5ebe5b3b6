"""Gradient of BERT-LSH for the hashes drawn: that of a softmax whose logits depend on q and k where
a pair collided, and are constants elsewhere.

With weights w_i = softmax(l_i), z_ij = G_i . v_j, kappa_i = G_i . out_i, the gradient with respect
to a logit is P_ij = w_ij (z_ij - kappa_i), kept where the pair collided:

    corrected:   l_ij = beta q_i . k_j:                       dq = beta P k,   dk = beta P^T q,   dv
        = w^T G;
    paper-code:  l_ij = beta q_a . k_b, a = min(i, j), b = max(i, j):  P_ij goes to dq_a and dk_b;
        below the diagonal to dq_j and dk_i.

Rounding (proved here). As in `bounds/gradients.py`: logits off by eta move a row P_i by omega_i eta
/ 2 in l1 norm, ln rho <= 2 eta; the rest of its error e_i is weight noise times 2 |G_i|_1 max|V|
and twice that of z - kappa. Entries that are dropped afterwards take no error with them. So every
row of dq is off by at most beta max|k| e_i, every row of dk by beta sum_i |q_i| e_i; when rows are
mirrored, by beta max|k| (e_i + sum e) and beta max|q| (e_i + sum e).

Underflow. With w the smallest normal number and |P_i|_1 <= Z_i = 2 |G_i|_1 max|V|, the products
behind z, kappa and P lose at most (n_k + 4 dv + 8) w in e_i; beta q in P beta q loses w |P_ij| <= w
Z_i, and the last products w each, times beta where that is the last factor: together (n + 8)(1 +
beta) w sum_i (1 + Z_i) in any row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.gradients import GradientBounds, cotangent_size
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import EXP_ULPS, blocked_sum_terms, gamma, up
from approxattn.bounds.scores import key_norms, query_norms, value_spread
from approxattn.bounds.softmax import score_rounding, softmax_rounding
from approxattn.softmax.scores import rows_at_once


@dataclass(frozen=True, kw_only=True)
class Logits:
    """Logits of a block of queries, -inf where a key is not seen, and which pairs collided; both
    (..., rows, keys).
    """

    logits: Array
    met: Array


def logit_gradient(
    problem: Problem, dout: Array, block: Callable[[int, int], Logits], *, mirrored: bool
) -> tuple[Array, Array, Array]:
    """Return dq, dk, dv; `block(first, last)` gives the logits of queries first..last-1 over the
    keys they may see.
    """
    xp, step = problem.xp, rows_at_once(problem, problem.n_k)
    q, k, v = problem.q * problem.scale, problem.k, problem.v
    dq: list[Array] = []
    dk, dv = xp.zeros_like(k), xp.zeros_like(v)
    dq_below = xp.zeros_like(q)
    dk_below: list[Array] = []
    for first in range(0, problem.n_q, step):
        last = min(first + step, problem.n_q)
        rows = block(first, last)
        stop = rows.logits.shape[-1]
        g = dout[..., first:last, :]
        weights = xp.exp(rows.logits - xp.max(rows.logits, axis=-1, keepdims=True))
        weights = weights / xp.sum(weights, axis=-1, keepdims=True)
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
    xp, where = problem.xp, {"device": _arrays.device(p)}
    rows = xp.arange(first, first + p.shape[-2], **where)
    upper = rows[:, None] <= xp.arange(p.shape[-1], **where)[None, :]
    zero = xp.zeros_like(p)
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
    xp, u, spread, beta = problem.xp, problem.u, value_spread(problem), problem.scale
    size = cotangent_size(dout, xp)  # (..., n_q)
    log_ratio = 2 * (score_rounding(problem, bound) + u * (EXP_ULPS + 4 + 4 * bound) * 3)
    blocks = -(-problem.n_q // rows_at_once(problem, problem.n_k))
    terms = 2 * problem.n_k + blocked_sum_terms(problem.n_q, 1) + blocks + problem.dv + 16
    noise = (
        gamma(2 * terms, u)
        + 2 * pair_sums
        + 4 * problem.n_k * _arrays.smallest_normal(problem.dtype)
    )
    inexact = (2 * gamma(problem.dv + 4, u) + output_loss) * spread.top[..., None]
    pair = size * (inexact + softmax_rounding(problem, bound, problem.n_k))
    rows = (
        size * spread.osc[..., None] * log_ratio / 4
        + 2 * noise * size * spread.top[..., None]
        + 2 * pair
    )
    loss = _arrays.smallest_normal(problem.dtype) * (1 + 2 * size * spread.top[..., None])
    rows = up(rows + (problem.n_k + 4 * problem.dv + 8) * loss)
    # masked ones too: mirrored rows read them
    keys = np.max(key_norms(problem), axis=-1, keepdims=True)
    queries = query_norms(problem)
    total = np.sum(rows, axis=-1, keepdims=True)
    if mirrored:
        dq, dk = (
            beta * keys * (rows + total),
            beta * np.max(queries, axis=-1, keepdims=True) * (rows + total),
        )
    else:
        dq, dk = beta * keys * rows, beta * np.sum(queries * rows, axis=-1, keepdims=True)
    dv = np.sum(
        (tv_from_log_ratio(log_ratio) + (4 * noise if pair_sums else noise)) * size,
        axis=-1,
        keepdims=True,
    )
    tiny = (problem.n_q + problem.n_k + 8) * (1 + beta) * np.sum(loss, axis=-1, keepdims=True)
    shape = (*problem.batch, problem.n_k)
    return GradientBounds(
        dq=up(dq + tiny),
        dk=np.broadcast_to(up(dk + tiny), shape),
        dv=np.broadcast_to(up(dv + tiny), shape),
    )
