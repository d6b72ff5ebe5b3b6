"""What the blocks of a chunk meet: windows, selected keys, summary keys.

Symbols, for one block of b queries q_i (scale included): qm is their mean, f_j = qm . k_j the score
of a far key, p a piece of the far keys that are not heavy.

1. The `heavy` far keys with the largest f_j are met exactly, and so are the first visible keys.
2. A piece has the mass M_p = sum_j e^{f_j}, the weights pi_j = e^{f_j} / M_p, the mean key
   kh_p = sum_j pi_j k_j and the mean value vh_p = sum_j pi_j v_j.
3. It enters as one key kh_p with the value vh_p, whose score is

       t_ip = q_i . kh_p + ln M_p - qm . kh_p.

So a query equal to qm gives each piece its exact mass and its exact mean value. What another query
makes of it is in `bounds`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem import Problem
from approxattn.methods.selected_keys.arrays import (
    hide,
    rows_at,
    shifted_exp,
    take_largest,
    windows,
)
from approxattn.methods.selected_keys.layout import Chunk


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How many keys of each kind."""

    heavy: int
    summaries: int
    sinks: int


class Summaries(NamedTuple):
    """The summary keys of C blocks: mean keys (C, G, d), mean values (C, G, dv), ln M - qm . kh
    (C, 1, G), -inf for pieces with nothing left; and pi of each piece, where it is kept.
    """

    k: Array
    v: Array
    bias: Array
    weights: list[Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class ChunkKeys:
    """What a chunk of C blocks with b queries each meets.

    Attributes
    ----------
    chunk : Chunk
        Its place.
    q, mean : array, shapes (C, b, d), (C, 1, d)
        Queries and their means, scale included.
    window_k, window_v : array, shapes (C, w, d), (C, w, dv)
        Keys and values of the windows.
    window_bias : array, broadcastable to (C, b, m), or None
        -inf where a query may not look, for the last m keys of each window.
    places : array of int, shape (C, t)
        The selected keys.
    k, v : array, shapes (C, t + G, d), (C, t + G, dv)
        Selected keys and values, then the summaries.
    bias : array, shape (C, 1, t + G)
        0 for selected keys, -inf for what is hidden or empty, ln M - qm . kh for summaries.
    summaries : Summaries or None
        Where there are any.
    """

    chunk: Chunk
    q: Array
    mean: Array
    window_k: Array
    window_v: Array
    window_bias: Array | None
    places: Array
    k: Array
    v: Array
    bias: Array
    summaries: Summaries | None


def first_visible(problem: Problem, count: int) -> HostArray:
    """Return the places of the first visible keys of a problem without leading axes."""
    if problem.key_mask is None:
        return np.arange(min(count, problem.n_k))
    return np.flatnonzero(_arrays.to_host(problem.key_mask))[:count]


def meet(
    problem: Problem, chunk: Chunk, choice: Choice, sinks: HostArray, *, keep: bool = False
) -> ChunkKeys:
    """Return what a chunk meets; `keep` keeps the weights of the summaries.

    `problem` has no leading axes.
    """
    xp = problem.xp
    q = problem.q[chunk.first : chunk.last, :] * problem.scale
    q = xp.reshape(q, (chunk.count, chunk.rows, problem.d))
    mean = xp.mean(q, axis=1, keepdims=True)
    sink_places, sink_bias = sinks_of(chunk, sinks, q)
    places, biases = [sink_places], [sink_bias]
    heavy, pieces = min(choice.heavy, chunk.far), chunk.pieces(choice.summaries)
    summaries = None
    if heavy or pieces:
        scores = _far_scores(problem, chunk, mean[:, 0, :], sinks)
        if heavy:
            found, tops, scores = take_largest(scores, heavy, xp)
            places.append(found)
            biases.append(xp.where(xp.isfinite(tops), xp.zeros_like(tops), tops))
        if pieces:
            summaries = _summaries(problem, pieces, scores, mean, keep=keep)
    selected = xp.concat(places, axis=1)
    keys, values = [rows_at(problem.k, selected, xp)], [rows_at(problem.v, selected, xp)]
    bias = xp.concat(biases, axis=1)[:, None, :]
    if summaries is not None:
        keys.append(summaries.k)
        values.append(summaries.v)
        bias = xp.concat([bias, summaries.bias], axis=2)
    view = (chunk.start, chunk.count, chunk.rows, chunk.width, xp)
    return ChunkKeys(
        chunk=chunk,
        q=q,
        mean=mean,
        window_k=windows(problem.k, *view),
        window_v=windows(problem.v, *view),
        window_bias=order_bias(problem, chunk, q),
        places=selected,
        k=xp.concat(keys, axis=1),
        v=xp.concat(values, axis=1),
        bias=bias,
        summaries=summaries,
    )


def sinks_of(chunk: Chunk, sinks: HostArray, q: Array) -> tuple[Array, Array]:
    """Return the places of the first visible keys, and -inf for those in the window or after it in
    causal order, shapes (C, s).
    """
    starts = chunk.start + chunk.rows * np.arange(chunk.count)[:, None]
    inside = (sinks >= starts) & ((sinks < starts + chunk.width) | chunk.causal)
    bias = np.where(inside, -np.inf, 0.0).astype(_arrays.dtype_name(q))
    places = np.broadcast_to(sinks, inside.shape).astype(np.int64)
    return _arrays.from_host(places, q), _arrays.from_host(bias, q)


def order_bias(problem: Problem, chunk: Chunk, q: Array) -> Array | None:
    """Return -inf for hidden keys and for those after a query, broadcastable to (C, b, m): m = b
    on NumPy where no key is hidden, else w.
    """
    xp, bias = problem.xp, None
    if chunk.causal:
        alone = problem.key_mask is None and _arrays.on_host(q)
        wide = chunk.rows if alone else chunk.width
        own = np.arange(wide) - (wide - chunk.rows)
        later = own > np.arange(chunk.rows)[:, None]
        order = np.where(later, -np.inf, 0.0).astype(problem.dtype)
        bias = _arrays.from_host(order, q)
    if problem.key_mask is not None and chunk.width:
        view = (chunk.start, chunk.count, chunk.rows, chunk.width, xp)
        shown = windows(problem.key_mask[:, None], *view)
        shown = xp.matrix_transpose(shown)  # (C, 1, w)
        none = xp.zeros(shown.shape, dtype=q.dtype, device=_arrays.device(q))
        mask = xp.where(shown, none, xp.full_like(none, -xp.inf))
        bias = mask if bias is None else bias + mask
    return bias


def _far_scores(problem: Problem, chunk: Chunk, mean: Array, sinks: HostArray) -> Array:
    """Return the scores of the mean queries with keys 0..far-1, -inf for what is not far, shape
    (C, far).
    """
    xp = problem.xp
    scores = xp.matmul(mean, xp.matrix_transpose(problem.k[: chunk.far, :]))
    ranges = [chunk.window(block) for block in range(chunk.count)]
    if chunk.causal:
        ranges = [(start, chunk.far) for start, _ in ranges]
    gone = sinks[sinks < chunk.far]
    if problem.key_mask is not None:
        hidden = np.flatnonzero(~_arrays.to_host(problem.key_mask)[: chunk.far])
        gone = np.concatenate([gone, hidden])
    return hide(scores, ranges, gone, xp)


def _summaries(
    problem: Problem, pieces: list[tuple[int, int]], scores: Array, mean: Array, *, keep: bool
) -> Summaries:
    """Return the summary keys of the pieces; on NumPy the scores are used up."""
    xp, kept = problem.xp, []
    keys, values, logs = [], [], []
    for start, stop in pieces:
        part = scores[:, start:stop]
        top = xp.max(part, axis=1, keepdims=True)
        finite = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
        part = shifted_exp(part, finite, xp)
        mass = xp.sum(part, axis=1, keepdims=True)
        safe = xp.where(mass > 0, mass, xp.ones_like(mass))
        keys.append(xp.matmul(part, problem.k[start:stop, :]) / safe)
        values.append(xp.matmul(part, problem.v[start:stop, :]) / safe)
        logs.append(_log(mass, finite, xp))
        if keep:
            kept.append(part / safe)
    k, log = xp.stack(keys, axis=1), xp.concat(logs, axis=1)
    there = xp.matmul(mean, xp.matrix_transpose(k))  # (C, 1, G)
    return Summaries(k, xp.stack(values, axis=1), log[:, None, :] - there, kept)


def _log(mass: Array, top: Array, xp: Namespace) -> Array:
    """Return top + ln(mass), -inf where the mass is 0."""
    some = mass > 0
    log = top + xp.log(xp.where(some, mass, xp.ones_like(mass)))
    return xp.where(some, log, xp.full_like(log, -xp.inf))
