"""Softmax attention over colliding pairs only: cost and memory proportional to their number, announced before anything is allocated.

Weights are proportional to e^{s_ij} c_ij over the kept keys of a row, c = 1 or 1/Pr[kept].

Certificate (proved here, surely, for the pairs kept): `ours.reweighted-keys`. Let mu be the softmax mass of the D keys dropped, B_i a bound on their scores and
Z = sum of e^s over the kept ones: mu <= D e^B / (D e^B + Z), and TV <= mu + (1 - mu) tanh(osc ln c / 4). A row without a pair attends uniformly over the keys it
sees: TV <= tanh(2 B / 4), the scores lying in [-B, B]. The scores that are not kept are never computed, which is why this bound is wider than that of the
dense form. Rounding: scores off by eta change Z by e^eta at most, the c are those computed (whatever they should have been), and the softmax
itself rounds as in `scores.py`, for sums of at most n_k terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem, visible_keys
from approxattn.hashing.pairs import Pairs, RowBlock, colliding_pairs, count_collisions, row_blocks
from approxattn.perturbation import tv_from_log_ratio
from approxattn.rounding import EXP_ULPS, gamma, up
from approxattn.score_bounds import score_bound
from approxattn.scores import score_rounding

LogWeights = Callable[[Array, Array], Array]
"""From queries (rows, 1, d) and gathered keys (rows, width, d) to ln c, (rows, width)."""


@dataclass(frozen=True, kw_only=True)
class PairSoftmax:
    """Output, shape (..., n_q, dv), bound on the total variation of its weights, (..., n_q), number of pairs, and rows without any."""

    value: Array
    tv: HostArray
    pairs: int
    empty_rows: int


def pair_softmax(
    problem: Problem, codes: tuple[Array, Array], max_pairs: int, log_weights: LogWeights | None = None
) -> PairSoftmax:
    """Return attention over the pairs whose codes, int64 (tables, ..., n_q) and (tables, ..., n_k), agree in some table.

    Raises
    ------
    MemoryError
        More collisions than `max_pairs`, before they are formed.
    """
    xp = problem.xp
    q_codes, k_codes = (_arrays.to_host(x) for x in codes)
    _announce(problem, q_codes, k_codes, max_pairs)
    values, tvs, kept, empty = [], [], 0, 0
    bound = score_bound(problem, problem.k)
    eta = score_rounding(problem, bound)
    seen = visible_keys(problem)
    for index in np.ndindex(*problem.batch):
        shown = _shown(problem, index)
        pairs = colliding_pairs(
            q_codes[(slice(None), *index)], k_codes[(slice(None), *index)][:, shown], shown, causal=problem.causal
        )
        value, log_mass, spread = _one_item(problem, index, pairs, log_weights)
        values.append(value)
        tvs.append(_total_variation(seen[index], pairs.counts, bound[index], eta[index], log_mass, spread, problem.u))
        kept, empty = kept + len(pairs.keys), empty + int(np.sum(pairs.counts == 0))
    shape = (*problem.batch, problem.n_q)
    value = xp.reshape(xp.stack(values), (*shape, problem.dv))
    return PairSoftmax(value=value, tv=np.reshape(np.stack(tvs), shape), pairs=kept, empty_rows=empty)


def _shown(problem: Problem, index: tuple[int, ...]) -> HostArray:
    if problem.key_mask is None:
        return np.arange(problem.n_k)
    return np.flatnonzero(_arrays.to_host(problem.key_mask[(*index, ...)]))


def _announce(problem: Problem, q_codes: HostArray, k_codes: HostArray, max_pairs: int) -> None:
    """Count collisions and refuse too many, with an estimate of what they would take."""
    total = 0
    for index in np.ndindex(*problem.batch):
        item = (slice(None), *index)
        total += count_collisions(q_codes[item], k_codes[item][:, _shown(problem, index)])
    if total > max_pairs:
        gigabytes = total * 48 / 2**30  # rows, keys and names of the pairs, and copies while these are sorted
        share = total / (math.prod((*problem.batch, problem.n_q, problem.n_k)) * q_codes.shape[0])
        msg = (
            f"max_pairs(={max_pairs}): {total} collisions ({100 * share:.3g} % of the pairs of a table) would need about {gigabytes:.3g} GiB "
            "and as many dot products: take more bits, fewer tables or a larger max_pairs"
        )
        raise MemoryError(msg)


def _one_item(
    problem: Problem, index: tuple[int, ...], pairs: Pairs, log_weights: LogWeights | None
) -> tuple[Array, HostArray, HostArray]:
    """Return the output of one batch item, ln Z of each row, and osc ln c of each row."""
    xp = problem.xp
    q, k, v = (x[(*index, ...)] for x in (problem.q, problem.k, problem.v))
    parts, order = [], []
    log_mass, spread = np.full(problem.n_q, -np.inf), np.zeros(problem.n_q)
    for block in row_blocks(pairs, problem.d + problem.dv):
        value, mass, osc = _block(problem, (q, k, v), block, log_weights)
        log_mass[block.rows], spread[block.rows] = mass, osc
        parts.append(value)
        order.append(block.rows)
    alone = np.flatnonzero(pairs.counts == 0)
    if len(alone):
        parts.append(_uniform(problem, index, v, alone))
        order.append(alone)
    back = np.argsort(np.concatenate(order))
    return xp.take(xp.concat(parts, axis=0), _arrays.from_host(back, q), axis=0), log_mass, spread


def _block(
    problem: Problem, arrays: tuple[Array, Array, Array], block: RowBlock, log_weights: LogWeights | None
) -> tuple[Array, HostArray, HostArray]:
    xp, (q, k, v) = problem.xp, arrays
    rows, width = block.keys.shape
    flat = _arrays.from_host(block.keys.reshape(-1), q)
    present = _arrays.from_host(block.present, q)
    own = xp.take(q, _arrays.from_host(block.rows, q), axis=0)[:, None, :]  # (rows, 1, d)
    keys = xp.reshape(xp.take(k, flat, axis=0), (rows, width, problem.d))
    scores = xp.sum(own * problem.scale * keys, axis=-1)  # (rows, width)
    never = xp.full_like(scores, -xp.inf)
    scores = xp.where(present, scores, never)
    logits, osc = scores, np.zeros(rows)
    if log_weights is not None:
        extra = log_weights(own, keys)
        logits = xp.where(present, scores + extra, never)
        high, low = (
            _arrays.to_host(pick(xp.where(present, extra, edge), axis=-1))
            for pick, edge in ((xp.max, never), (xp.min, -never))
        )
        osc = high.astype(np.float64) - low
    weights = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    gathered = xp.reshape(xp.take(v, flat, axis=0), (rows, width, problem.dv))
    value = xp.sum(weights[..., None] * gathered, axis=-2) / xp.sum(weights, axis=-1, keepdims=True)
    top = xp.max(scores, axis=-1, keepdims=True)
    mass = xp.sum(xp.exp(scores - top), axis=-1)
    log_mass = _arrays.to_host(top[:, 0]).astype(np.float64) + np.log(_arrays.to_host(mass).astype(np.float64))
    return value, log_mass, osc


def _uniform(problem: Problem, index: tuple[int, ...], v: Array, rows: HostArray) -> Array:
    """Return the mean of the visible values for rows without a pair."""
    xp, where = problem.xp, {"device": _arrays.device(v)}
    seen = xp.ones((len(rows), problem.n_k), dtype=v.dtype, **where)
    if problem.causal:
        past = xp.arange(problem.n_k, **where)[None, :] <= _arrays.from_host(rows, v)[:, None]
        seen = xp.where(past, seen, xp.zeros_like(seen))
    if problem.key_mask is not None:
        seen = xp.where(problem.key_mask[(*index, None, ...)], seen, xp.zeros_like(seen))
    return xp.matmul(seen, v) / xp.sum(seen, axis=-1, keepdims=True)


def _total_variation(
    seen: HostArray, kept: HostArray, bound: HostArray, eta: HostArray, log_mass: HostArray, spread: HostArray, u: float
) -> HostArray:
    """Bound TV for every row, from ln Z, osc ln c, the numbers of keys seen and kept and the bounds on scores and their errors."""
    sums = gamma(int(np.max(kept, initial=0)) + EXP_ULPS + 8, u)
    if sums >= 1:
        return np.ones(seen.shape)
    slack = eta + u * (4 + 4 * bound) - math.log1p(-sums)
    some = kept > 0
    gap = np.where(some, log_mass - slack - bound, 0.0)  # ln (Z / e^B), rounded down; at most ln(kept)
    left = np.where(seen > kept, seen - kept, 0)
    dropped = left / np.where(left > 0, left + np.exp(gap), 1.0)
    moved = tv_from_log_ratio(spread * (1 + 8 * u) + 8 * u * np.abs(spread))
    total = np.where(some, dropped + (1 - dropped) * moved, tv_from_log_ratio(2 * bound))
    return up(np.minimum(total, 1.0))
