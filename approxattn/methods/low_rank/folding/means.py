"""Means of blocks of keys and values that grow with the keys: at most k blocks, whatever their
number.

Symbols. A block has m keys, their mean c, the mean of their values, and r >= max |k_j - c|.

1. Keys come one after the other into blocks of a length L; the last block may be shorter. Where
   there are more than k blocks, neighbours join in pairs, and L doubles.
2. Blocks a and b joined have the mean c = (m_a c_a + m_b c_b) / (m_a + m_b), and by the triangle
   inequality |k_j - c| <= r_a + |c_a - c| for the keys of a. This holds for whatever c was
   computed.
3. Every key passes through at most log2 L + 2 means, whose roundings in float64 add up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from approxattn._arrays import HostArray
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import row_norms


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """The blocks of one item, in the order of their keys, on the host.

    Attributes
    ----------
    keys, values : ndarray, shapes (b, d), (b, dv)
        Means, in float64.
    counts : ndarray of int, shape (b,)
        Numbers of keys.
    radii : ndarray, shape (b,)
        Bounds on the distance of a key from its mean.
    length : int
        L.
    """

    keys: HostArray
    values: HostArray
    counts: HostArray
    radii: HostArray
    length: int

    def followed_by(self, k: HostArray, v: HostArray, most: int) -> Blocks:
        """Return at most so many blocks of these keys and those of k, shapes (n, d), (n, dv)."""
        k, v = k.astype(np.float64), v.astype(np.float64)
        ones = np.ones(len(k), int)
        single = Blocks(keys=k, values=v, counts=ones, radii=np.zeros(len(k)), length=1)
        room = self.length - int(self.counts[-1]) if len(self.counts) else 0
        first = min(room, len(k))
        found = self._with_last(single.part(slice(0, first)))
        rest = single.part(slice(first, None))
        length = found.length
        while True:
            new = -(-len(rest.counts) // length)
            if len(found.counts) + new <= most or max(len(found.counts), new) <= 1:
                break
            length *= 2
            found = found.paired()
        starts = np.arange(0, len(rest.counts), length)
        return replace(found.then(rest.joined(starts)), length=length).within(most)

    def then(self, other: Blocks) -> Blocks:
        """Return these blocks and the others."""
        pairs = ((getattr(self, x), getattr(other, x)) for x in ARRAYS)
        whole = dict(zip(ARRAYS, (np.concatenate(pair) for pair in pairs), strict=True))
        return Blocks(**whole, length=max(self.length, other.length))

    def within(self, most: int) -> Blocks:
        """Return at most so many blocks."""
        found = self
        while len(found.counts) > most:
            found = replace(found.paired(), length=2 * found.length)
        return found

    def paired(self) -> Blocks:
        """Return the blocks joined in pairs."""
        return self.joined(np.arange(0, len(self.counts), 2))

    def part(self, span: slice) -> Blocks:
        """Return some of the blocks."""
        return replace(self, **{name: getattr(self, name)[span] for name in ARRAYS})

    def joined(self, starts: HostArray) -> Blocks:
        """Return the blocks from each start to the next as one: step 2."""
        if not len(starts):
            return self.part(slice(0, 0))
        counts = np.add.reduceat(self.counts, starts)
        share = (self.counts / np.repeat(counts, _lengths(starts, len(self.counts))))[:, None]
        # shares first: no sum of them overflows
        keys, values = (
            np.add.reduceat(x * share, starts, axis=0) for x in (self.keys, self.values)
        )
        means = np.repeat(keys, _lengths(starts, len(self.counts)), axis=0)
        with np.errstate(over="ignore"):
            reach = up(self.radii + up(row_norms(self.keys - means, np) * (1 + 2.0**-50)))
        radii = np.maximum.reduceat(reach, starts)
        return replace(self, keys=keys, values=values, counts=counts, radii=radii)

    def _with_last(self, more: Blocks) -> Blocks:
        """Return the blocks with more keys in the last one."""
        if not len(more.counts):
            return self
        whole = self.then(more)
        return replace(whole.joined(np.arange(len(self.counts))), length=self.length)


ARRAYS = ("keys", "values", "counts", "radii")


def _lengths(starts: HostArray, n: int) -> HostArray:
    return np.diff(np.append(starts, n))


def no_blocks(d: int, dv: int) -> Blocks:
    """Return the blocks of no keys."""
    none = np.zeros(0)
    return Blocks(
        keys=np.zeros((0, d)),
        values=np.zeros((0, dv)),
        counts=none.astype(int),
        radii=none,
        length=1,
    )
