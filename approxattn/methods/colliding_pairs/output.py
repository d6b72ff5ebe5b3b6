"""Softmax attention over colliding pairs only: cost and memory O(pairs + n (d + dv)), announced
before anything is allocated.

Weights are proportional to e^{s_ij} c_ij over the pairs of a row, c = 1 or 1/Pr[kept]. The other
keys of the row are dropped, or have the logit 0 (`weights.py`). A row without a pair attends
uniformly over the keys it sees.

Certificate (proved here, surely, for the pairs found). B bounds the sizes of the scores of a row, Z
is the sum of e^s over its pairs, r the number of its other keys. The scores of these are never
computed, which is why the bounds are wider than those of the dense form.

Dropped (`ours.reweighted-keys`).

1. The others have the softmax mass mu <= r e^B / (r e^B + Z).
2. On the pairs, T1 of `perturbation.py` bounds the change by tanh(osc ln c / 4).
3. Hence TV <= mu + (1 - mu) tanh(osc ln c / 4).

Logit 0 (`ours.filled-keys`).

1. The softmax has a mass a in [r e^-B/(r e^-B + Z), r e^B/(r e^B + Z)] on the others; the weights
   in use have b = r/(r + Z).
2. Both agree on the pairs after normalising.
3. On the others they are within tanh(B/2) after normalising (T1).
4. Hence TV <= |a - b| + min(a, b) tanh(B/2). Also TV <= tanh(B/2), by T1 at once.

No pair: TV <= tanh(B/2).

Rounding. Scores off by eta change Z by a factor of at most e^eta. The c are those computed,
whatever they should have been. The softmax itself rounds as in `bounds/softmax.py`, for sums of at
most n_k terms, and as in `weights.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arguments import memory
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn._problem.time_needed import SCORE, check_time, exact_seconds
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import EXP_ULPS, U64, gamma, up
from approxattn.bounds.scores import score_bound
from approxattn.bounds.softmax import score_rounding
from approxattn.methods.colliding_pairs.pairs import (
    Pairs,
    colliding_pairs,
    count_collisions,
    row_blocks,
)
from approxattn.methods.colliding_pairs.weights import (
    LogWeights,
    fill_rounding,
    pair_rows,
    seen_sums,
    shown_keys,
)

FIRST, FAR = 16, 8.0
"""Tables that are looked at before the others are hashed, and how many times too many collisions
these must foresee. *Chosen*: chance does not make one out of eight with that many tables.
"""


@dataclass(frozen=True, kw_only=True)
class PairSoftmax:
    """Output, shape (..., n_q, dv), bound on the total variation of its weights and rounding beyond
    `bounds/softmax.py` in units of max|V|, both (..., n_q).

    `pairs` counts the pairs, `empty_rows` the rows without any.
    """

    value: Array
    tv: HostArray
    rounding: HostArray
    pairs: int
    empty_rows: int


@dataclass(frozen=True, kw_only=True)
class _Item:
    """One batch item: output, and ln Z, osc ln c and the rounding of each row."""

    value: Array
    log_mass: HostArray
    spread: HostArray
    rounding: HostArray


def pair_softmax(
    problem: Problem,
    pairs_of_items: Iterable[tuple[tuple[int, ...], Pairs]],
    log_weights: LogWeights | None = None,
    *,
    filled: bool = False,
) -> PairSoftmax:
    """Return attention over the pairs of `found_pairs`; `filled`: other keys have the logit 0, else
    they are dropped.
    """
    values, tvs, rounding, kept, empty = [], [], [], 0, 0
    bound = score_bound(problem)
    eta = score_rounding(problem, bound)
    seen = problem.visible_keys
    for index, pairs in pairs_of_items:
        item = _one_item(problem.item(index), pairs, log_weights, filled)
        values.append(item.value)
        facts = seen[index], pairs.counts, bound[index], eta[index], item.log_mass
        tvs.append(
            _filled(*facts, problem.u) if filled else _dropped(*facts, item.spread, problem.u)
        )
        rounding.append(item.rounding)
        kept, empty = kept + len(pairs.keys), empty + int(np.sum(pairs.counts == 0))
    shape = (*problem.batch, problem.n_q)
    value = problem.xp.reshape(problem.xp.stack(values), (*shape, problem.dv))
    tv, noise = (np.reshape(np.stack(x), shape) for x in (tvs, rounding))
    return PairSoftmax(value=value, tv=tv, rounding=noise, pairs=kept, empty_rows=empty)


def found_pairs(
    problem: Problem, codes: tuple[Array, Array], max_pairs: int
) -> Iterator[tuple[tuple[int, ...], Pairs]]:
    """Yield the pairs of each batch item whose codes, int64 (tables, ..., n_q) and (tables, ...,
    n_k), agree in some table, after all have been counted.

    Raises
    ------
    MemoryError
        More collisions than `max_pairs`, or than this machine can hold, before they are formed.
    ValueError
        Collisions that would take minutes.
    """
    q_codes, k_codes = (_arrays.to_host(x) for x in codes)
    _announce(problem, q_codes, k_codes, max_pairs)
    for index in np.ndindex(*problem.batch):
        shown, item = shown_keys(problem, index), (slice(None), *index)
        yield (
            index,
            colliding_pairs(q_codes[item], k_codes[item][:, shown], shown, causal=problem.causal),
        )


def foresee_collisions(
    problem: Problem, codes: tuple[Array, Array], share: float, max_pairs: int
) -> None:
    """Refuse far too many collisions, from the codes of a share of the tables, before the others
    are hashed.

    Raises
    ------
    MemoryError
        Where all tables would have about `FAR` times as many collisions as are allowed.
    """
    total = _collisions(problem, *(_arrays.to_host(x) for x in codes)) / share
    if total > FAR * max_pairs:
        msg = (
            f"max_pairs(={max_pairs}): about {total:.3g} collisions, judged by "
            f"{100 * share:.2g} % of the tables: take more bits or fewer tables"
        )
        raise MemoryError(msg)


def _collisions(problem: Problem, q_codes: HostArray, k_codes: HostArray) -> int:
    total = 0
    for index in np.ndindex(*problem.batch):
        item = (slice(None), *index)
        total += count_collisions(q_codes[item], k_codes[item][:, shown_keys(problem, index)])
    return total


def _announce(problem: Problem, q_codes: HostArray, k_codes: HostArray, max_pairs: int) -> None:
    """Count collisions and refuse too many, with an estimate of what they would take."""
    total = _collisions(problem, q_codes, k_codes)
    # rows, keys and names of the pairs, and copies while these are sorted
    needed, have = 48 * total, memory()
    if total > max_pairs or needed > have:
        share = total / (math.prod((*problem.batch, problem.n_q, problem.n_k)) * q_codes.shape[0])
        other = " or a larger max_pairs" if needed <= have else ""
        msg = (
            f"max_pairs(={max_pairs}): {total} collisions ({100 * share:.3g} % of the pairs of a "
            f"table) would need about {needed / 2**30:.3g} GiB and as many dot products: take more "
            f"bits, fewer tables{other}"
        )
        raise MemoryError(msg)
    seconds = total * SCORE * (40 + 2 * (problem.d + problem.dv))
    what, remedy = f"{total} collisions", "take more bits or fewer tables"
    check_time("max_pairs", max_pairs, seconds, what, remedy, exact_seconds(problem))


def _one_item(
    problem: Problem, pairs: Pairs, log_weights: LogWeights | None, filled: bool
) -> _Item:
    """Return the output of one batch item, posed as a problem without leading axes."""
    xp, counts, seen = problem.xp, pairs.counts, problem.visible_keys
    alone = np.flatnonzero(counts == 0)
    sums = seen_sums(problem) if filled or len(alone) else None
    outputs, order = [], []
    log_mass, spread, noise = (
        np.full(problem.n_q, -np.inf),
        np.zeros(problem.n_q),
        np.zeros(problem.n_q),
    )
    for block in row_blocks(pairs, problem.d + problem.dv):
        rows = block.rows
        others = seen[rows] - counts[rows] if filled else np.zeros(len(rows))
        over = pair_rows(problem, block, others, log_weights)
        part = xp.matmul(over.lifted[:, None, :], over.values)[:, 0, :]
        if sums is not None and filled:
            part = part + over.rest * _rows(sums, rows, problem)
            noise[rows] = fill_rounding(
                _arrays.to_host(over.rest[:, 0]), seen[rows], block.keys.shape[1], problem.u
            )
        log_mass[rows], spread[rows] = over.log_mass, over.spread
        outputs.append(part)
        order.append(rows)
    if sums is not None and len(alone):
        share = _arrays.from_host(seen[alone, None].astype(problem.dtype), problem.v)
        outputs.append(
            xp.broadcast_to(_rows(sums, alone, problem), (len(alone), problem.dv)) / share
        )
        order.append(alone)
    back = _arrays.from_host(np.argsort(np.concatenate(order)), problem.q)
    value = xp.take(xp.concat(outputs, axis=0), back, axis=0)
    return _Item(value=value, log_mass=log_mass, spread=spread, rounding=noise)


def _rows(sums: Array, rows: HostArray, problem: Problem) -> Array:
    return (
        problem.xp.take(sums, _arrays.from_host(rows, sums), axis=0) if sums.shape[0] > 1 else sums
    )


def _dropped(
    seen: HostArray,
    kept: HostArray,
    bound: HostArray,
    eta: HostArray,
    log_mass: HostArray,
    spread: HostArray,
    u: float,
) -> HostArray:
    """Bound TV for every row, from ln Z, osc ln c, the numbers of keys seen and kept and the bounds
    on scores and their errors.
    """
    slack = _mass_error(kept, bound, eta, u)
    if slack is None:
        return np.ones(seen.shape)
    some = kept > 0
    # ln (Z / e^B), rounded down; at most ln(kept)
    gap = np.where(some, log_mass - slack - bound, 0.0)
    left = np.where(seen > kept, seen - kept, 0)
    dropped = left / np.where(left > 0, left + np.exp(gap), 1.0)
    moved = tv_from_log_ratio(spread * (1 + 8 * u) + 8 * u * np.abs(spread))
    total = np.where(some, dropped + (1 - dropped) * moved, tv_from_log_ratio(2 * bound))
    return up(np.minimum(total, 1.0))


def _filled(
    seen: HostArray,
    kept: HostArray,
    bound: HostArray,
    eta: HostArray,
    log_mass: HostArray,
    u: float,
) -> HostArray:
    """The same where the other keys have the logit 0."""
    slack = _mass_error(kept, bound, eta, u)
    if slack is None:
        return np.ones(seen.shape)
    some, left = kept > 0, (seen - kept).astype(np.float64)
    log, others = np.where(some, log_mass, 0.0), np.maximum(left, 1.0)
    whole = tv_from_log_ratio(2 * bound)  # tanh(B / 2)
    with np.errstate(over="ignore"):
        a_high, a_low, b_high, b_low = (
            others / (others + np.exp(log + shift))
            for shift in (-slack - bound, slack + bound, -slack, slack)
        )
    tight = 1 - np.minimum(whole, 1.0)
    total = np.maximum(a_high - b_low * tight, b_high - a_low * tight) + 64 * U64
    total = np.where(some, np.minimum(total, whole), whole)
    return up(np.where(left > 0, np.minimum(total, 1.0), 0.0))


def _mass_error(kept: HostArray, bound: HostArray, eta: HostArray, u: float) -> HostArray | None:
    """Bound the error of ln Z; None where the sum is too long for the dtype."""
    sums = gamma(int(np.max(kept, initial=0)) + EXP_ULPS + 8, u)
    return None if sums >= 1 else np.asarray(eta + u * (4 + 4 * bound) - math.log1p(-sums))
