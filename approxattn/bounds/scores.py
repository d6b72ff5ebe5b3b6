"""Bounds on scores, keys and values that cost O(n d), rounded outward, on the host.

Norms are computed after division by the row's largest entry where overflow or underflow could make
a bound too small, and without where not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace, precision
from approxattn._arrays.crossing import at_hand, far
from approxattn._arrays.precision import plain
from approxattn._problem import Problem, once
from approxattn.bounds.rounding import gamma, outward, up


def row_lengths(x: Array, xp: Namespace) -> Array:
    """Return `row_norms`, at hand: rows that are far stay so, and no number of theirs is looked
    at.
    """
    if not far(x):
        return row_norms(x, xp)
    top = xp.maximum(xp.max(x, axis=-1, keepdims=True), -xp.min(x, axis=-1, keepdims=True))
    safe = xp.where(top > 0, top, xp.ones_like(top))
    unit = x / safe
    squares = at_hand(xp.sum(unit * unit, axis=-1))  # (..., n), between 1 and d
    grow = 1 + gamma(x.shape[-1] + 8, precision.unit_roundoff(x), 1)
    return outward(at_hand(top[..., 0]) * xp.sqrt(squares) * grow)


SHORT = 32
"""Columns up to which dot products of rows are one product. *Chosen*: 0.6 to 0.8 of the time of
einsum at 16 and 32 columns, which takes half of vecdot's; the same at 64.
"""


def row_norms(x: Array, xp: Namespace) -> HostArray:
    """Return upper bounds on the Euclidean norms of the rows of x, shape (..., n, d) ->
    (..., n).
    """
    name = _arrays.dtype_name(x)
    u = precision.unit_roundoff(x)
    with np.errstate(over="ignore", under="ignore"):
        squares = row_products(x, x, xp).astype(np.float64)
    least, most = np.min(squares, initial=1.0), np.max(squares, initial=1.0)
    if least > _arrays.smallest_normal(name) ** 0.5 and most < _arrays.largest(name) ** 0.5:
        # no partial sum overflowed, and what underflowed is below d sqrt(tiny) of the sum, far
        # below u
        lengths = np.sqrt(squares, out=squares)
        lengths *= 1 + gamma(x.shape[-1] + 8, u, 1)
        return up(lengths)
    top = xp.max(xp.abs(x), axis=-1, keepdims=True)  # (..., n, 1)
    safe = xp.where(top > 0, top, xp.ones_like(top))
    scaled = xp.sum((x / safe) ** 2, axis=-1)  # (..., n), between 1 and d
    host_top = _arrays.to_float64(top[..., 0])
    return up(host_top * np.sqrt(_arrays.to_float64(scaled)) * (1 + gamma(x.shape[-1] + 8, u, 1)))


def row_products(x: Array, y: Array, xp: Namespace) -> HostArray:
    """Return the dot product of each row of x with that of y, shapes (..., n, d) -> (..., n), on
    the host.
    """
    if _arrays.on_host(x, y):
        if x.shape[-1] <= SHORT:
            return np.asarray((x * y) @ np.ones(x.shape[-1], x.dtype))
        return np.asarray(np.einsum("...i,...i->...", x, y))
    # CuPy would make vecdot a batch of n products of one row each
    return _arrays.to_host(xp.sum(x * y, axis=-1))


def products_at_hand(x: Array, y: Array, xp: Namespace) -> Array:
    """Return `row_products` in float64, at hand."""
    if far(x):
        return at_hand(xp.sum(x * y, axis=-1))
    return row_products(x, y, xp).astype(np.float64)


def key_centre(problem: Problem) -> Array:
    """Return the mean of the visible keys, shape (..., 1, d).

    Any centre is exact for the softmax: it shifts a row's scores by a constant.
    """
    xp, k = problem.xp, problem.k
    if problem.key_mask is None:
        return _arrays.mean_of_rows(k, xp)
    weight = xp.astype(problem.key_mask, k.dtype)[..., None]  # (..., n, 1)
    count = xp.maximum(xp.sum(weight, axis=-2, keepdims=True), xp.ones_like(weight[..., :1, :]))
    return xp.sum(weight * k, axis=-2, keepdims=True) / count


def visible_max(per_key: HostArray, problem: Problem) -> HostArray:
    """Return the largest of `per_key`, shape (..., n_k) >= 0, over the keys that take part, shape
    (...).
    """
    if problem.key_mask is not None:
        per_key = np.where(_arrays.to_host(problem.key_mask), per_key, 0.0)
    return np.asarray(np.max(per_key, axis=-1))


def largest_visible(per_key: Array, problem: Problem) -> Array:
    """Return the same of numbers at hand, at hand."""
    if not far(per_key):
        return visible_max(per_key, problem)
    xp = problem.xp
    if problem.key_mask is not None:
        per_key = xp.where(problem.key_mask, per_key, xp.zeros_like(per_key))
    return xp.max(per_key, axis=-1)


@once
def query_lengths(problem: Problem) -> Array:
    """Return `query_norms`, at hand."""
    return row_lengths(problem.q, problem.xp)


@once
def query_norms(problem: Problem) -> HostArray:
    """Return upper bounds on the lengths of the queries, shape (..., n_q)."""
    return _arrays.to_host(query_lengths(problem))


@once
def key_lengths(problem: Problem) -> Array:
    """Return `key_norms`, at hand."""
    return row_lengths(problem.k, problem.xp)


@once
def key_norms(problem: Problem) -> HostArray:
    """Return upper bounds on the lengths of the keys, hidden ones included, shape (..., n_k)."""
    return _arrays.to_host(key_lengths(problem))


@once
def key_radius(problem: Problem) -> Array:
    """Return the bound on the length of the longest visible key, shape (...), at hand."""
    return largest_visible(key_lengths(problem), problem)


@once
def bias_sizes(problem: Problem) -> HostArray | None:
    """Return `Bias.sizes`; None without a bias."""
    return None if problem.bias is None else problem.bias.sizes()


@once
def sink_sizes(problem: Problem) -> HostArray | None:
    """Return the sizes of the sinks, shape (..., 1); None without any."""
    if problem.sinks is None:
        return None
    return np.abs(_arrays.to_float64(problem.sinks[..., 0]))


@once
def score_bound(problem: Problem) -> HostArray:
    """Return B_i >= max_j |beta q_i . k_j + bias_ij| over visible keys, shape (..., n_q).

    Cauchy-Schwarz: beta |q_i| max_j |k_j|, at most the soft cap, and the largest bias of the row; a
    sink is a score too.
    """
    sizes = product_bound(problem)
    if problem.softcap is not None:
        sizes = np.minimum(sizes, problem.softcap)
    of_bias, of_sinks = bias_sizes(problem), sink_sizes(problem)
    if of_bias is not None:
        sizes = up(sizes + of_bias)
    return sizes if of_sinks is None else np.maximum(sizes, up(of_sinks))


SCORE_FACTS = (query_lengths, key_radius, bias_sizes, sink_sizes)
"""What `score_bound` and `score_rounding` ask of a problem."""


@once
def product_bound(problem: Problem) -> HostArray:
    """Return the bound on |beta q_i . k_j| alone, shape (..., n_q)."""
    return _products(problem, _arrays.to_host(key_radius(problem)))


def score_bound_of(problem: Problem, keys: Array) -> HostArray:
    """Return the same for other keys in the place of the problem's, shape (..., n_k, d)."""
    return _products(problem, visible_max(row_norms(keys, problem.xp), problem))


def _products(problem: Problem, radius: HostArray) -> HostArray:
    return up(problem.scale * query_norms(problem) * radius[..., None])


@dataclass(frozen=True)
class ValueSpread:
    """Size of the visible values of each batch item, largest over columns.

    Attributes
    ----------
    osc : ndarray, shape (...)
        max - min of a column.
    top : ndarray, shape (...)
        Largest absolute value.
    """

    osc: HostArray
    top: HostArray


@once
def value_spread(problem: Problem) -> ValueSpread:
    """Return the oscillation and the largest absolute entry of the visible values."""
    return spread_of(*problem.value_range)


def spread_of(top: HostArray, bottom: HostArray) -> ValueSpread:
    """Return the same from the ends of the range of each column, shapes (..., dv)."""
    if top.shape[-1] == 0:
        return ValueSpread(np.zeros(top.shape[:-1]), np.zeros(top.shape[:-1]))
    return ValueSpread(
        up(np.max(top - bottom, axis=-1)), np.max(np.maximum(np.abs(top), np.abs(bottom)), axis=-1)
    )


@once
def column_sums(problem: Problem) -> Array:
    """Return the l1 norms of the columns of V over the visible keys, as they are computed, shape
    (..., dv), at hand.
    """
    xp, size = problem.xp, problem.shown(problem.xp.abs(problem.v))
    return at_hand(xp.sum(size, axis=-2))


def column_widths(problem: Problem) -> HostArray:
    """Return upper bounds on them, shape (..., dv)."""
    sums = _arrays.to_host(column_sums(problem))
    loss = gamma(problem.n_k, plain(problem.u))  # relative: all terms have one sign
    return up(sums / (1 - loss)) if loss < 1 else np.full_like(sums, np.inf)
