"""The few steps that NumPy does faster in a way of its own: views, in place, by selection."""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace

GROUP = 16
"""Keys of a group, of which only the largest score competes at first. *Chosen*: for 128 keys of
some ten thousand, groups and their members are then about as many.
"""


TOGETHER = 2**19
"""Scores among which the largest are looked for at one time, whole rows. *Chosen*: 2 MiB in float32
stay in a cache.
"""

SORTED = 256
"""Rows up to this length are sorted, so that of equal scores the earlier ones count. *Chosen*."""


def windows(x: Array, start: int, count: int, step: int, width: int, xp: Namespace) -> Array:
    """Return rows start + c step .. start + c step + width - 1 for each c, shape (count, width, m):
    a view, or a copy.
    """
    if _arrays.on_host(x):
        row, column = x.strides
        shape, strides = (count, width, x.shape[1]), (step * row, row, column)
        return np.lib.stride_tricks.as_strided(x[start:], shape, strides, writeable=False)
    places = start + step * np.arange(count)[:, None] + np.arange(width)
    return rows_at(x, _arrays.from_host(places, x), xp)


def rows_at(x: Array, places: Array, xp: Namespace) -> Array:
    """Return the rows of x at places, shapes (n, m), (count, t) -> (count, t, m)."""
    flat = xp.take(x, xp.reshape(places, (-1,)), axis=0)
    return xp.reshape(flat, (*places.shape, x.shape[-1]))


def shifted_exp(x: Array, top: Array, xp: Namespace) -> Array:
    """Return e^(x - top), in the place of x where that can be."""
    if not _arrays.on_host(x):
        return xp.exp(x - top)
    np.subtract(x, top, out=x)
    return np.exp(x, out=x)


def take_largest(scores: Array, count: int, xp: Namespace) -> tuple[Array, Array, Array]:
    """Return the places of the `count` largest of each row, in no order, these scores, shapes
    (rows, count), and all scores with -inf in these places: the same array on NumPy.
    """
    if _arrays.on_host(scores):
        rows = max(1, TOGETHER // scores.shape[1])
        parts = [scores[first : first + rows] for first in range(0, len(scores), rows)]
        taken = [_taken_out(part, count) for part in parts]
        places, found = (np.concatenate(x) for x in zip(*taken, strict=True))
        return places, found, scores
    order = xp.argsort(scores, axis=1, descending=True, stable=True)
    found = -xp.sort(-scores, axis=1)[:, :count]
    rank = xp.argsort(order, axis=1)
    return order[:, :count], found, xp.where(rank < count, xp.full_like(scores, -xp.inf), scores)


def _taken_out(scores: HostArray, count: int) -> tuple[HostArray, HostArray]:
    """Return places and scores of the largest of each row, and put -inf in their places."""
    places = _largest(scores, count)
    found = np.take_along_axis(scores, places, axis=1)
    np.put_along_axis(scores, places, -np.inf, axis=1)
    return places, found


def _largest(scores: HostArray, count: int) -> HostArray:
    """Return the places of the largest.

    Long rows (proved here): cut the row into groups, and keep the `count` groups with the largest
    maxima. An entry of another group is at most the maximum of each group that was kept, so at most
    `count` entries that were kept.
    """
    n = scores.shape[1]
    if n <= SORTED:
        return np.argsort(-scores, axis=1, kind="stable")[:, :count]
    groups = n // GROUP
    if count == n:
        return np.broadcast_to(np.arange(n), scores.shape)
    if groups <= 2 * count:
        return np.argpartition(scores, n - count, axis=1)[:, n - count :]
    whole = groups * GROUP
    tops = scores[:, :whole].reshape(-1, GROUP, groups).max(axis=1)
    kept = np.argpartition(tops, groups - count, axis=1)[:, groups - count :]
    members = (kept[:, None, :] + groups * np.arange(GROUP)[:, None]).reshape(len(scores), -1)
    tail = np.broadcast_to(np.arange(whole, n), (len(scores), n - whole))
    members = np.concatenate([members, tail], axis=1)
    among = np.take_along_axis(scores, members, axis=1)
    best = np.argpartition(among, among.shape[1] - count, axis=1)[:, -count:]
    return np.take_along_axis(members, best, axis=1)


def hide(scores: Array, ranges: list[tuple[int, int]], columns: HostArray, xp: Namespace) -> Array:
    """Return the scores with -inf in one range of each row, and in some columns of all: the same
    array on NumPy.
    """
    if _arrays.on_host(scores):
        scores[:, columns] = -np.inf
        for row, (start, stop) in enumerate(ranges):
            scores[row, start:stop] = -np.inf
        return scores
    gone = np.zeros(scores.shape, bool)
    gone[:, columns] = True
    for row, (start, stop) in enumerate(ranges):
        gone[row, start:stop] = True
    return xp.where(_arrays.from_host(gone, scores), xp.full_like(scores, -xp.inf), scores)


def add(x: Array, y: Array) -> Array:
    """Return x + y, in the place of x where that can be; y broadcasts."""
    return np.add(x, y, out=x) if _arrays.on_host(x) else x + y


def add_to_last(x: Array, y: Array) -> Array:
    """Return x with y added to its last columns, as many as y has, in the place of x where that
    can be; leading axes broadcast.
    """
    if y.shape[-1] == x.shape[-1]:
        return add(x, y)
    x[..., x.shape[-1] - y.shape[-1] :] += y  # only NumPy is given fewer columns
    return x
