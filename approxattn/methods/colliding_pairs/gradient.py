"""Gradient of softmax attention over colliding pairs only, for the pairs and their weights c held
fixed: O(pairs + n (d + dv)) like the output.

With w, e, S of `weights.py`, z_ij = G_i . v_j and kappa_i = G_i . out_i, the gradient with respect
to the logit of a pair is P_ij = w_ij (z_ij - kappa_i), and

    dq = beta sum_pairs P k,   dk = beta sum_pairs P q,   dv_j = sum_pairs (w_ij - e_i) G_i + sum_{i
        sees j} e_i G_i;

e_i = 1/n_i in a row without a pair. The last sum is one for all keys, or runs over the queries from
j on under a causal mask.

Rounding (proved here): that of `bert_lsh_gradient.py` for P, with kappa off by what the output is.
Sums over pairs by key are taken in float64 a block at a time, each off by at most 2 gamma_t(2^-53)
times the l1 norm of all its terms, t the number of pairs in it (`_arrays.segment_sum`), and the b
blocks are added by gamma_b: 2 gamma_{t+b} counts with sum_i |q_i| |P_i|_1 in dk and sum_i |G_i|_1
in dv. In dv, w - e and the sums of e add three times the noise of w, as |w - e| + e <= 3 max(w, e).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.gradients import GradientBounds
from approxattn.bounds.rounding import gamma
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
    found = list(found_pairs(problem, codes, max_pairs))
    forward = pair_softmax(problem, found, log_weights, filled=filled)
    kappa = xp.sum(dout * forward.value, axis=-1, keepdims=True)  # (..., n_q, 1)
    items = [
        _one_item(
            problem, index, pairs, dout[(*index, ...)], kappa[(*index, ...)], log_weights, filled
        )
        for index, pairs in found
    ]
    dq, dk, dv = (
        xp.reshape(
            xp.stack([_arrays.cast(getattr(item, name), problem.dtype, xp) for item in items]),
            tuple(like.shape),
        )
        for name, like in (("dq", problem.q), ("dk", problem.k), ("dv", problem.v))
    )
    sums = gamma(max(item.terms for item in items), 2.0**-53)
    rounding = logit_gradient_rounding(
        problem, dout, bound, mirrored=False, output_loss=forward.rounding, pair_sums=sums
    )
    return PairGradient(dq=dq, dk=dk, dv=dv, bounds=rounding)


def _one_item(
    problem: Problem,
    index: tuple[int, ...],
    pairs: Pairs,
    g: Array,
    kappa: Array,
    log_weights: LogWeights | None,
    filled: bool,
) -> _Item:
    xp, counts, seen = problem.xp, pairs.counts, problem.visible_keys[index]
    arrays = problem.q[(*index, ...)], problem.k[(*index, ...)], problem.v[(*index, ...)]
    rest = np.where(counts == 0, 1 / seen, 0.0)
    order, parts = (
        [np.flatnonzero(counts == 0)],
        [xp.zeros_like(arrays[0][: int(np.sum(counts == 0)), :])],
    )
    where = {"dtype": xp.float64, "device": _arrays.device(g)}
    dk, dv, largest, blocks = (
        xp.zeros((problem.n_k, problem.d), **where),
        xp.zeros((problem.n_k, problem.dv), **where),
        0,
        0,
    )
    for block in row_blocks(pairs, problem.d + problem.dv):
        others = seen[block.rows] - counts[block.rows] if filled else np.zeros(len(block.rows))
        found = pair_rows(problem, arrays, block, others, log_weights)
        rows = _arrays.from_host(block.rows, g)
        own, to_keys, to_values = _block(
            problem, found, block, xp.take(g, rows, axis=0), xp.take(kappa, rows, axis=0)
        )
        rest[block.rows] = _arrays.to_host(found.rest[:, 0])
        order.append(block.rows)
        parts.append(own)
        dk, dv = dk + to_keys, dv + to_values
        largest, blocks = max(largest, block.keys.size), blocks + 1
    dv = dv + _background(
        problem, index, _arrays.from_host(rest[:, None], g) * _arrays.cast(g, "float64", xp)
    )
    back = _arrays.from_host(np.argsort(np.concatenate(order)), g)
    return _Item(
        dq=xp.take(xp.concat(parts, axis=0), back, axis=0),
        dk=dk,
        dv=dv,
        terms=largest + blocks + problem.n_q + 8,
    )


def _block(
    problem: Problem, found: PairRows, block: RowBlock, g: Array, kappa: Array
) -> tuple[Array, Array, Array]:
    """Return dq of the rows of a block, and what its pairs add to dk and dv, in float64."""
    xp = problem.xp
    z = xp.matmul(found.values, g[:, :, None])[..., 0]
    p = found.weights * (z - kappa)  # (rows, width), 0 where there is no pair
    own = xp.matmul(p[:, None, :], found.keys)[:, 0, :] * problem.scale
    to_keys, to_values = (
        _arrays.segment_sum(
            xp.reshape(factor[..., None] * rows[:, None, :], (block.keys.size, rows.shape[-1])),
            found.names,
            problem.n_k,
        )
        for factor, rows in ((p, found.scaled_q), (found.lifted, g))
    )
    return own, to_keys, to_values


def _background(problem: Problem, index: tuple[int, ...], shares: Array) -> Array:
    """Return sum_i e_i G_i over the queries that see a key, shape (n_k, dv), 0 for masked keys."""
    xp = problem.xp
    if problem.causal:
        total = xp.flip(xp.cumulative_sum(xp.flip(shares, axis=0), axis=0), axis=0)
    else:
        total = xp.broadcast_to(xp.sum(shares, axis=0, keepdims=True), (problem.n_k, problem.dv))
    if problem.key_mask is None:
        return total
    return xp.where(problem.key_mask[(*index, slice(None), None)], total, xp.zeros_like(total))
