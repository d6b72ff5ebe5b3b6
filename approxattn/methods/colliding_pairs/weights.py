"""Weights of a softmax whose rows know only the pairs that collided: what the output and the
gradient over colliding pairs have in common.

Symbols. Row i has the logit l_ij = s_ij + ln c_ij for the pairs that collided. It sees r_i other
keys. They have no logit, and are dropped, or they have the logit 0. S_i is the sum of all values
that the row sees, n_i their number, and

    M = max(l, 0 if r > 0),    D = r e^-M + sum_pairs e^{l - M},
    w_ij = e^{l_ij - M} / D,   e_i = e^-M / D, 0 where other keys are dropped.

Output (proved here): the keys that did not collide are never looked at one by one.

1. They contribute sum e_i v_j = e_i (S_i - sum_pairs v_j).
2. So out_i = sum_pairs (w_ij - e_i) v_j + e_i S_i.

Rounding (proved here), next to the errors of an ordinary softmax (`bounds/softmax.py`). Let t =
width + 2 EXP_ULPS + 16 for the longest row of pairs.

1. D has positive terms only. S is added up in float64.
2. w - e and e S are off by (w + e) and e sum|v| times gamma of a few operations.
3. With kappa_i = e_i n_i, a column is therefore off by at most 3 kappa_i max|V| (gamma_t(u) +
   gamma_{n+4}(2^-53)).
4. kappa <= n/r: it is large only where nearly all keys collided, with very negative scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._arrays.segments import running_sum
from approxattn._problem import Problem
from approxattn.bounds.rounding import EXP_ULPS, U64, gamma, up
from approxattn.methods.colliding_pairs.pairs import RowBlock

LogWeights = Callable[[Array, Array], Array]
"""From queries (rows, 1, d) and gathered keys (rows, width, d) to ln c, (rows, width)."""


@dataclass(frozen=True, kw_only=True)
class PairRows:
    """Some rows over their colliding keys.

    Attributes
    ----------
    names : array of int, shape (rows * width,)
        The keys, 0 where there is none.
    scaled_q, keys, values : array, shapes (rows, d), (rows, width, d), (rows, width, dv)
        beta q of the rows; keys and values gathered.
    weights, lifted, rest : array, shapes (rows, width), (rows, width), (rows, 1)
        w and w - e, 0 where there is no key, and e.
    log_mass, spread : ndarray, shape (rows,)
        ln of the sum of e^s over the pairs, and osc ln c.
    """

    names: Array
    scaled_q: Array
    keys: Array
    values: Array
    weights: Array
    lifted: Array
    rest: Array
    log_mass: HostArray
    spread: HostArray


def pair_rows(
    item: Problem, block: RowBlock, others: HostArray, log_weights: LogWeights | None
) -> PairRows:
    """Return the weights of a block of rows of one batch item; `others`, shape (rows,), counts the
    keys with the logit 0.
    """
    xp, q, k, v = item.xp, item.q, item.k, item.v
    rows, width = block.keys.shape
    names, present = (
        _arrays.from_host(block.keys.reshape(-1), q),
        _arrays.from_host(block.present, q),
    )
    queries = xp.take(q, _arrays.from_host(block.rows, q), axis=0)
    keys = xp.reshape(xp.take(k, names, axis=0), (rows, width, item.d))
    scaled = queries * item.scale
    scores = xp.matmul(keys, scaled[:, :, None])[..., 0]
    never = xp.full_like(scores, -xp.inf)
    scores = xp.where(present, scores, never)
    logits, spread = scores, np.zeros(rows)
    if log_weights is not None:
        extra = log_weights(queries[:, None, :], keys)
        logits = xp.where(present, scores + extra, never)
        high = _arrays.to_float64(xp.max(xp.where(present, extra, never), axis=-1))
        spread = high - _arrays.to_host(xp.min(xp.where(present, extra, -never), axis=-1))
    left = _arrays.from_host(others[:, None].astype(item.dtype), q)
    weights, rest = _softmax(logits, left, xp)
    return PairRows(
        names=names,
        scaled_q=scaled,
        keys=keys,
        values=xp.reshape(xp.take(v, names, axis=0), (rows, width, item.dv)),
        weights=weights,
        lifted=xp.where(present, weights - rest, xp.zeros_like(weights)),
        rest=rest,
        log_mass=_log_mass(scores, xp),
        spread=spread,
    )


def _softmax(logits: Array, left: Array, xp: Namespace) -> tuple[Array, Array]:
    """Return w and e for logits (rows, width) and r, shape (rows, 1)."""
    some, zero = left > 0, xp.zeros_like(left)
    top = xp.max(logits, axis=-1, keepdims=True)
    top = xp.where(some, xp.maximum(top, zero), top)
    weights = xp.exp(logits - top)
    rest = xp.where(some, xp.exp(xp.where(some, -top, zero)), zero)
    total = xp.sum(weights, axis=-1, keepdims=True) + left * rest
    return weights / total, rest / total


def _log_mass(scores: Array, xp: Namespace) -> HostArray:
    """Return the logarithm of the sum of e^s of each row."""
    top = xp.max(scores, axis=-1, keepdims=True)
    mass = _arrays.to_float64(xp.sum(xp.exp(scores - top), axis=-1))
    return np.asarray(_arrays.to_float64(top[:, 0]) + np.log(mass))


def fill_rounding(rest: HostArray, seen: HostArray, width: int, u: float) -> HostArray:
    """Return what the logits 0 add to the rounding of a row, in units of max|V|, shape (rows,); e
    of shape (rows,).
    """
    sums = gamma(width + 2 * EXP_ULPS + 16, u) + gamma(int(np.max(seen, initial=1)) + 4, U64)
    kappa = rest.astype(np.float64) * seen
    return up(np.where(kappa > 0, 3 * kappa * (1 + 2.0**-10) * sums, 0.0))


def seen_sums(item: Problem) -> Array:
    """Return the sum of the values that each query of one batch item sees, (n_q, dv) or (1, dv),
    added up in float64.
    """
    xp, total = item.xp, _arrays.cast(item.v, "float64", item.xp)
    total = running_sum(total, xp) if item.causal else xp.sum(total, axis=0, keepdims=True)
    return _arrays.cast(total, item.dtype, xp)


def shown_keys(problem: Problem, index: tuple[int, ...]) -> HostArray:
    """Return the keys of one batch item that are not masked, in order."""
    if problem.key_mask is None:
        return np.arange(problem.n_k)
    return np.flatnonzero(_arrays.to_host(problem.key_mask[(*index, ...)]))
