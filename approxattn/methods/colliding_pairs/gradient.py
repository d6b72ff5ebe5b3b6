"""Gradient of softmax attention over colliding pairs only, for the pairs and their weights c held
fixed: O(pairs + n (d + dv)) like the output.

Symbols: w, e, S of `weights.py`, G the cotangent, z_ij = G_i . v_j, kappa_i = G_i . out_i. The
gradient with respect to the logit of a pair is P_ij = w_ij (z_ij - kappa_i). So

    dq = beta sum_pairs P k,    dk = beta sum_pairs P q,
    dv_j = sum_pairs (w_ij - e_i) G_i + sum_{i sees j} e_i G_i,

with e_i = 1/n_i in a row without a pair. The last sum is one for all keys, or runs over the queries
from j on under a causal mask.

Rounding (proved here).

1. P rounds as in `dense_gradient.py`, with kappa off by what the output is off by.
2. Sums over pairs by key are taken in float64, a block at a time. Each is off by at most 2
   gamma_t(2^-53) times the l1 norm of all its terms, t the number of pairs in the block
   (`_arrays.segments`).
3. The b blocks are added by gamma_b. So 2 gamma_{t+b} counts with sum_i |q_i| |P_i|_1 in dk, and
   with sum_i |G_i|_1 in dv.
4. In dv, w - e and the sums of e add three times the noise of w, as |w - e| + e <= 3 max(w, e).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.segments import running_sum, segment_sum
from approxattn._problem import Problem
from approxattn.bounds.gradients import GradientBounds
from approxattn.bounds.rounding import U64, gamma
from approxattn.methods.colliding_pairs.dense_gradient import logit_gradient_rounding
from approxattn.methods.colliding_pairs.output import found_pairs, pair_softmax
from approxattn.methods.colliding_pairs.pairs import Pairs, RowBlock, row_blocks
from approxattn.methods.colliding_pairs.weights import LogWeights, PairRows, pair_rows


@dataclass(frozen=True, kw_only=True)
class PairGradient:
    """dq, dk, dv in the shapes of q, k, v, and the bounds on their rounding errors."""

    dq: Array
    dk: Array
    dv: Array
    bounds: GradientBounds


@dataclass(frozen=True, kw_only=True)
class _Item:
    """One batch item: float64 gradients, e of every row, and the longest sum over pairs with the
    number of blocks.
    """

    dq: Array
    dk: Array
    dv: Array
    terms: int


def pair_gradient(
    problem: Problem,
    dout: Array,
    codes: tuple[Array, Array],
    max_pairs: int,
    bound: HostArray,
    log_weights: LogWeights | None = None,
    *,
    filled: bool = False,
) -> PairGradient:
    """Return the gradient for the cotangent `dout`; `bound`, shape (..., n_q), bounds the logits,
    the rest is as in `found_pairs` and `pair_softmax`.

    Raises
    ------
    MemoryError
        More collisions than `max_pairs`, before they are formed.
    """
    xp = problem.xp
    pairs_of_items = list(found_pairs(problem, codes, max_pairs))
    forward = pair_softmax(problem, pairs_of_items, log_weights, filled=filled)
    kappa = xp.sum(dout * forward.value, axis=-1, keepdims=True)  # (..., n_q, 1)
    items = [
        _one_item(
            problem.item(index),
            pairs,
            dout[(*index, ...)],
            kappa[(*index, ...)],
            log_weights,
            filled,
        )
        for index, pairs in pairs_of_items
    ]
    dq, dk, dv = (
        xp.reshape(
            xp.stack([_arrays.cast(getattr(item, name), problem.dtype, xp) for item in items]),
            tuple(like.shape),
        )
        for name, like in (("dq", problem.q), ("dk", problem.k), ("dv", problem.v))
    )
    sums = gamma(max(item.terms for item in items), U64)
    rounding = logit_gradient_rounding(
        problem, dout, bound, mirrored=False, output_loss=forward.rounding, pair_sums=sums
    )
    return PairGradient(dq=dq, dk=dk, dv=dv, bounds=rounding)


def _one_item(
    problem: Problem,
    pairs: Pairs,
    g: Array,
    kappa: Array,
    log_weights: LogWeights | None,
    filled: bool,
) -> _Item:
    """Return the gradients of one batch item, posed as a problem without leading axes."""
    xp, counts, seen = problem.xp, pairs.counts, problem.visible_keys
    alone = np.flatnonzero(counts == 0)
    rest = np.where(counts == 0, 1 / seen, 0.0)
    order, dq = [alone], [xp.zeros_like(problem.q[: len(alone), :])]
    where = {"dtype": xp.float64, "device": _arrays.device(g)}
    dk = xp.zeros((problem.n_k, problem.d), **where)
    dv = xp.zeros((problem.n_k, problem.dv), **where)
    largest = blocks = 0
    for block in row_blocks(pairs, problem.d + problem.dv):
        others = seen[block.rows] - counts[block.rows] if filled else np.zeros(len(block.rows))
        over = pair_rows(problem, block, others, log_weights)
        rows = _arrays.from_host(block.rows, g)
        to_queries, to_keys, to_values = _block(
            problem, over, block, xp.take(g, rows, axis=0), xp.take(kappa, rows, axis=0)
        )
        rest[block.rows] = _arrays.to_host(over.rest[:, 0])
        order.append(block.rows)
        dq.append(to_queries)
        dk, dv = dk + to_keys, dv + to_values
        largest, blocks = max(largest, block.keys.size), blocks + 1
    dv = dv + _background(
        problem, _arrays.from_host(rest[:, None], g) * _arrays.cast(g, "float64", xp)
    )
    back = _arrays.from_host(np.argsort(np.concatenate(order)), g)
    return _Item(
        dq=xp.take(xp.concat(dq, axis=0), back, axis=0),
        dk=dk,
        dv=dv,
        terms=largest + blocks + problem.n_q + 8,
    )


def _block(
    problem: Problem, over: PairRows, block: RowBlock, g: Array, kappa: Array
) -> tuple[Array, Array, Array]:
    """Return dq of the rows of a block, and what its pairs add to dk and dv, in float64."""
    xp = problem.xp
    z = xp.matmul(over.values, g[:, :, None])[..., 0]
    p = over.weights * (z - kappa)  # (rows, width), 0 where there is no pair
    to_queries = xp.matmul(p[:, None, :], over.keys)[:, 0, :] * problem.scale
    to_keys, to_values = (
        segment_sum(
            xp.reshape(factor[..., None] * rows[:, None, :], (block.keys.size, rows.shape[-1])),
            over.names,
            problem.n_k,
        )
        for factor, rows in ((p, over.scaled_q), (over.lifted, g))
    )
    return to_queries, to_keys, to_values


def _background(problem: Problem, shares: Array) -> Array:
    """Return sum_i e_i G_i over the queries that see a key, shape (n_k, dv), 0 for masked keys."""
    xp = problem.xp
    if problem.causal:
        total = xp.flip(running_sum(xp.flip(shares, axis=0), xp), axis=0)
    else:
        total = xp.broadcast_to(xp.sum(shares, axis=0, keepdims=True), (problem.n_k, problem.dv))
    return problem.shown(total)
