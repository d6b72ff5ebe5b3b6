"""The output of BERT-LSH from all scores, in blocks of queries, and how far its weights are from
the softmax (`weight_change.py`).
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn._problem import Problem
from approxattn.methods.colliding_pairs.dense import Block, DenseLogits, count
from approxattn.methods.colliding_pairs.output import PairSoftmax
from approxattn.methods.colliding_pairs.weight_change import dropped_mass, oscillation_change
from approxattn.softmax.scores import rows_at_once


def dense_output(logits: DenseLogits) -> PairSoftmax:
    """Return the output, and what is known of it."""
    problem = logits.problem
    step = rows_at_once(problem, problem.n_k)
    blocks = [
        _block(logits, first, min(first + step, problem.n_q))
        for first in range(0, problem.n_q, step)
    ]
    return PairSoftmax(
        value=problem.xp.concat([b.value for b in blocks], axis=-2),
        tv=np.concatenate([b.tv for b in blocks], axis=-1),
        rounding=np.zeros((*problem.batch, problem.n_q)),
        pairs=sum(b.pairs for b in blocks),
        empty_rows=sum(b.empty_rows for b in blocks),
    )


def _block(logits: DenseLogits, first: int, last: int) -> PairSoftmax:
    problem, xp = logits.problem, logits.problem.xp
    rows = logits.block(first, last)
    change = _change(rows, problem, filled=logits.filled)
    hidden = rows.hidden(xp)
    weights = xp.exp(hidden - xp.max(hidden, axis=-1, keepdims=True))
    sums = xp.matmul(weights, problem.v[..., : hidden.shape[-1], :])
    return PairSoftmax(
        value=sums / xp.sum(weights, axis=-1, keepdims=True),
        tv=change,
        rounding=np.zeros(change.shape),
        pairs=count(rows.met, xp),
        empty_rows=count(rows.empty, xp),
    )


def _change(rows: Block, problem: Problem, *, filled: bool) -> HostArray:
    """Bound the total variation between the weights in use and the softmax, shape (..., rows)."""
    if filled:
        return oscillation_change(rows.logits, rows.scores, rows.seen, problem)
    zero = problem.xp.zeros_like(rows.scores)
    uniform = oscillation_change(zero, rows.scores, rows.seen, problem)
    dropped = dropped_mass(rows.scores, rows.met, rows.seen, problem)
    return np.where(_arrays.to_host(rows.empty[..., 0]), uniform, dropped)
