"""Streaming softmax over key blocks, forward and gradient: O(n) memory, any n, causal order, bands
and key masks.

Forward. For one query block the keys pass in blocks. s_j are the scores of a block, m the running
maximum, l the denominator and o the numerator; m', l', o' are the same after the block:

    m' = max(m, max_j s_j),
    l' = l e^(m - m') + sum_j e^(s_j - m'),
    o' = o e^(m - m') + sum_j e^(s_j - m') v_j,

and the output is o / l (Milakov & Gimelshein 2018; Rabe & Staats 2021; wording unverified).

Gradient (proved here; Liang et al. 2024, section C, corrected: see `lss24.gradient`). f are the
weights softmax(beta q k^T), out = f V, and G = dL/dout is the cotangent. In a second pass, with
f_ij = e^(s_ij - m_i) / l_i from the m and l of the first,

    z_ij = G_i . v_j,   kappa_i = G_i . out_i,   P_ij = f_ij (z_ij - kappa_i),
    dq = beta P k,      dk = beta P^T q,         dv = f^T G.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn.softmax import numpy_streaming
from approxattn.softmax.scores import masked_scores, rows_at_once
from approxattn.softmax.variants import times_slopes, with_sinks

KEY_BLOCK = 1024
"""Keys a block. *Chosen*: scores of a query block stay in cache."""


GRADIENT = 3.5
"""Multiply-adds of a gradient over those of the output."""


class Softmax(NamedTuple):
    """Rows of a softmax output, with the largest score and the denominator of each, shapes (...,
    rows, dv), (..., rows, 1) twice.
    """

    value: Array
    top: Array
    denominator: Array


def query_blocks(problem: Problem) -> list[tuple[int, int]]:
    """Return first and last query of each block."""
    rows = rows_at_once(problem, min(KEY_BLOCK, problem.n_k))
    return [(first, min(first + rows, problem.n_q)) for first in range(0, problem.n_q, rows)]


def _told_blocks(problem: Problem, times: float = 1.0) -> Iterator[tuple[int, int]]:
    """Return the same, telling how far the work is."""
    items = math.prod(problem.batch)
    rows = query_blocks(problem)
    return numpy_streaming.exact_blocks(rows, problem, lambda x: items * (x[1] - x[0]), times)


def key_blocks(problem: Problem, first: int, last: int) -> list[tuple[int, int]]:
    """Return start and end of each block of keys that a query of first..last-1 may see: all but
    the last end at multiples of KEY_BLOCK. There is one at least.
    """
    low, high = (None, problem.earlier) if problem.causal else problem.band or (None, None)
    stop = problem.n_k if high is None else min(max(last + high, 1), problem.n_k)
    least = 0 if low is None else min(max(first + low, 0), stop - 1)
    starts = range(least // KEY_BLOCK * KEY_BLOCK, stop, KEY_BLOCK)
    return [(start, min(start + KEY_BLOCK, stop)) for start in starts]


def attend(problem: Problem) -> Array:
    """Return exact attention, shape (..., n_q, dv), query block by query block."""
    others = problem.band, problem.bias, problem.softcap, problem.sinks
    if _arrays.on_host(problem.q, problem.k, problem.v) and all(x is None for x in others):
        return numpy_streaming.attend(problem, KEY_BLOCK)
    blocks = [stream(problem, first, last).value for first, last in _told_blocks(problem)]
    return problem.xp.concat(blocks, axis=-2)


def attend_with_lse(problem: Problem) -> tuple[Array, Array]:
    """Return exact attention and the log-sum-exp of each row, shapes (..., n_q, dv), (..., n_q)."""
    xp = problem.xp
    blocks = [stream(problem, first, last) for first, last in _told_blocks(problem)]
    lse = [(block.top + xp.log(block.denominator))[..., 0] for block in blocks]
    return xp.concat([block.value for block in blocks], axis=-2), xp.concat(lse, axis=-1)


def stream(problem: Problem, first: int, last: int) -> Softmax:
    """Return the output rows first..last-1."""
    xp = problem.xp
    q = problem.q[..., first:last, :] * problem.scale
    top: Array | None = None
    numerator: Array = None
    denominator: Array = None
    for start, end in key_blocks(problem, first, last):
        scores = masked_scores(problem, q, first, start, end)  # (..., rows, keys)
        block_top = xp.max(scores, axis=-1, keepdims=True)
        new_top = block_top if top is None else xp.maximum(top, block_top)
        # A row that has seen no key yet has top -inf; 0 in its place makes all its weights e^-inf =
        # 0.
        finite_top = xp.where(xp.isfinite(new_top), new_top, xp.zeros_like(new_top))
        weights = xp.exp(scores - finite_top)
        del scores  # before the next block is made: half of what is held
        part = xp.matmul(weights, problem.v[..., start:end, :])
        mass = xp.sum(weights, axis=-1, keepdims=True)
        del weights
        if top is None:
            numerator, denominator = part, mass
        else:
            shrink = xp.exp(top - finite_top)
            numerator, denominator = numerator * shrink + part, denominator * shrink + mass
        top = new_top
    top, numerator, denominator = with_sinks(problem, top, numerator, denominator)
    # a row that sees no key: 0 / 1, and weights of 0
    if problem.band is not None or problem.bias is not None:
        empty = denominator == 0
        denominator = xp.where(empty, xp.ones_like(denominator), denominator)
        top = xp.where(empty, xp.zeros_like(top), top)
    return Softmax(numerator / denominator, top, denominator)


def stream_gradient(problem: Problem, dout: Array) -> tuple[Array, Array, Array]:
    """Return dq, dk, dv for the cotangent G = dout, shape (..., n_q, dv)."""
    xp = problem.xp
    dq_blocks = []
    whole = [
        (start, min(start + KEY_BLOCK, problem.n_k)) for start in range(0, problem.n_k, KEY_BLOCK)
    ]
    dk = [xp.zeros_like(problem.k[..., start:end, :]) for start, end in whole]
    dv = [xp.zeros_like(problem.v[..., start:end, :]) for start, end in whole]
    for first, last in _told_blocks(problem, times=GRADIENT):
        rows = stream(problem, first, last)
        q, g = problem.q[..., first:last, :] * problem.scale, dout[..., first:last, :]
        kappa = xp.sum(g * rows.value, axis=-1, keepdims=True)
        dq: Array = None
        for start, end in key_blocks(problem, first, last):
            b = start // KEY_BLOCK
            f = xp.exp(masked_scores(problem, q, first, start, end) - rows.top) / rows.denominator
            p = xp.matmul(g, xp.matrix_transpose(problem.v[..., start:end, :]))  # z
            p = f * (p - kappa)
            p = times_slopes(problem, p, q, start, end)
            part = xp.matmul(p, problem.k[..., start:end, :]) * problem.scale
            dq = part if dq is None else dq + part
            dk[b] = _add(dk[b], xp.matmul(xp.matrix_transpose(p), q), problem)
            dv[b] = _add(dv[b], xp.matmul(xp.matrix_transpose(f), g), problem)
            del f, p  # before the next block is made
        dq_blocks.append(dq)
    return xp.concat(dq_blocks, axis=-2), xp.concat(dk, axis=-2), xp.concat(dv, axis=-2)


def _add(total: Array, part: Array, problem: Problem) -> Array:
    """Return total + part, where part may hold fewer rows: under a causal mask the last block ends
    with the queries.
    """
    xp, missing = problem.xp, total.shape[-2] - part.shape[-2]
    if missing:
        part = xp.concat([part, xp.zeros_like(total[..., part.shape[-2] :, :])], axis=-2)
    return total + part
