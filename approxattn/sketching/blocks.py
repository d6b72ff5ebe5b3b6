"""Blocks of neighbouring tokens, numbered where the tokens are: only the sizes of the blocks cross.

Block b holds the tokens from counts_0 + ... + counts_(b-1) on, counts_b of them, in order.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.crossing import far


def block_of_each(counts: HostArray, like: Array) -> Array:
    """Return the block of each token, shape (k,) -> (n,); every block holds one at least."""
    if not far(like):
        return _arrays.from_host(np.repeat(np.arange(counts.size), counts), like)
    xp, tokens = _arrays.namespace(x=like), int(np.sum(counts))
    ends = _arrays.from_host(np.cumsum(counts), like)
    every = xp.arange(tokens, dtype=ends.dtype, device=_arrays.device(like))
    return xp.searchsorted(ends, every, side="right")


def tokens_of_blocks(counts: HostArray, n: int, like: Array) -> Array:
    """Return the tokens of each block, one block after the other, shape (k,) -> (k largest,);
    slots beyond a block hold any token.
    """
    xp = _arrays.namespace(x=like)
    first = _arrays.from_host(np.cumsum(counts) - counts, like)
    places = first[:, None] + _slots(counts, first)
    last = xp.full_like(places, n - 1)
    return xp.reshape(xp.minimum(places, last), (-1,))


def real_slots(counts: HostArray, like: Array) -> Array:
    """Return which slots hold tokens, bool, shape (k,) -> (k, largest)."""
    sizes = _arrays.from_host(counts, like)
    return _slots(counts, sizes) < sizes[:, None]


def _slots(counts: HostArray, like: Array) -> Array:
    xp = _arrays.namespace(x=like)
    return xp.arange(int(np.max(counts)), dtype=like.dtype, device=_arrays.device(like))
