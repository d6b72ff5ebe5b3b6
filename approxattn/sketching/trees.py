"""Blocks of tokens that are alike: halved along the direction in which they spread most, and halved
again.

1. Each level splits every block at the median of its projections on a direction. A few steps of the
   power iteration on its scatter matrix find the direction, in O(n d) and one sort of n numbers.
2. All blocks of a leading index then differ by one token at most.
3. It runs on the host, so that every array library sees the same blocks.

This is the splitting rule of a principal-direction tree (known from vector quantisation; wording of
any one source unverified). Nothing here depends on how good the blocks are.
"""

from __future__ import annotations

import math

import numpy as np

from approxattn._arrays import HostArray
from approxattn.sketching.pooling import MeanPool
from approxattn.sketching.rows import visible_first

POWER_STEPS = 4
"""*Chosen*: on trained heads eight steps are no better."""


def similar_pool(x: HostArray, visible: HostArray, k: int) -> MeanPool:
    """Split the visible tokens of each leading index into blocks of similar rows of x.

    Parameters
    ----------
    x : ndarray, shape (..., n, d)
        What is to be alike within a block; finite.
    visible : ndarray of bool, shape (..., n) or (n,)
        With a token in every row.
    k : int
        Number of blocks, a power of two; where there are fewer tokens, one for each and some empty
        ones.

    Returns
    -------
    MeanPool
        Its blocks hold m / K tokens each, rounded up or down.

    Examples
    --------
    >>> import numpy as np
    >>> from approxattn.sketching import similar_pool
    >>> x = np.array([[0.0], [9], [1], [8]])
    >>> np.sort(similar_pool(x, np.ones(4, bool), 2).apply(x), axis=0)
    array([[0.5],
           [8.5]])
    """
    *batch, n, d = x.shape
    order, count = visible_first(np.broadcast_to(visible, (*batch, n)))
    blocks = min(k, 2 ** (int(np.max(count)) - 1).bit_length())  # enough for a block each
    size = -(-int(np.max(count)) // blocks)
    rows, orders = np.reshape(x, (-1, n, d)), np.reshape(order, (-1, n))
    split = [
        _split(rows[i], orders[i], int(c), blocks, size) for i, c in enumerate(np.ravel(count))
    ]
    members = np.stack([m for m, _ in split]) if split else np.zeros((0, blocks, size), int)
    counts = np.stack([c for _, c in split]) if split else np.zeros((0, blocks), int)
    shape = (*batch, blocks)
    return MeanPool(
        members=np.reshape(members, (*shape, size)), counts=np.reshape(counts, shape), length=n
    )


def _split(
    x: HostArray, order: HostArray, count: int, blocks: int, size: int
) -> tuple[HostArray, HostArray]:
    """Return the members, shape (blocks, size), and the counts, shape (blocks,), of one item whose
    first `count` of `order` are visible.

    Slots of a block beyond its count hold any token: they are padding.
    """
    slots = np.minimum(np.arange(blocks * size), len(order) - 1)
    members, counts = order[slots][None, :], np.array([count])
    for _ in range(int(math.log2(blocks))):
        near = np.argsort(_projections(x, members, counts), axis=-1, kind="stable")
        members = np.take_along_axis(members, near, axis=-1)
        half = members.shape[1] // 2
        first = -(-counts // 2)
        later = np.minimum(first[:, None] + np.arange(half), 2 * half - 1)
        halves = np.stack([members[:, :half], np.take_along_axis(members, later, axis=-1)], axis=1)
        members, counts = (
            np.reshape(halves, (-1, half)),
            np.ravel(np.stack([first, counts - first], axis=1)),
        )
    return members, counts


def _projections(x: HostArray, members: HostArray, counts: HostArray) -> HostArray:
    """Return the place of each member along the main direction of its block, inf for padding, shape
    (blocks, size).
    """
    real = np.arange(members.shape[1]) < counts[:, None]
    y = x[members] * real[..., None]
    y -= np.sum(y, axis=1, keepdims=True) / np.maximum(counts, 1)[:, None, None]
    y *= real[..., None]
    top = np.max(np.abs(y), axis=(1, 2), keepdims=True)
    y /= np.where(top > 0, top, 1)  # squares stay in range, whatever the scale
    farthest = np.argmax(np.vecdot(y, y), axis=1)
    u = np.take_along_axis(y, farthest[:, None, None], axis=1)  # (blocks, 1, d)
    for _ in range(POWER_STEPS):
        u = np.matmul(np.matmul(u, np.swapaxes(y, 1, 2)), y)
        length = np.max(np.abs(u), axis=2, keepdims=True)
        u = u / np.where(length > 0, length, 1)
    return np.where(real, np.matmul(y, np.swapaxes(u, 1, 2))[..., 0], np.inf)
