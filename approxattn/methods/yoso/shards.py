"""YOSO-m over blocks of tokens: the tables of all hashes are added up, then each query reads them.

1. Hyperplanes follow from the seed as in a call in memory: the same hashes, whatever the blocks.
2. Sums within `numpy_tables.KEYS` tokens are in the dtype of the values, all others in float64, and
   rounded once more when they are read: the rounding of `hash_error`, step 6, for as many blocks as
   there are keys.
3. Of the probability of failure each row has the same share, so that of a piece is its share of the
   rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import pose
from approxattn.bounds.elsewhere import Extent, beside, extent_of, keys_alone
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import column_widths
from approxattn.hashing.directions import check_zero_rows
from approxattn.hashing.hadamard import draw_hadamard
from approxattn.hashing.hyperplanes import draw_hyperplanes
from approxattn.methods.sharded import Answer, Answers, Call, Known, Pass
from approxattn.methods.yoso.numpy_tables import (
    LARGEST,
    TOKENS,
    fits,
    key_block,
    packed_codes,
    read_tables,
    tables,
)
from approxattn.methods.yoso.sampling import Sample, power_of_two


class Tables(NamedTuple):
    """What is left of some keys and values.

    Attributes
    ----------
    sums : ndarray, shape (items, hashes * 2^bits, dv)
        Bucket sums of each leading index, float64.
    counts : ndarray of int, shape (items, hashes * 2^bits)
        Keys of each bucket.
    widths : ndarray, shape (..., dv)
        l1 norms of the columns of v, rounded up.
    """

    sums: HostArray
    counts: HostArray
    widths: HostArray
    extent: Extent

    def merge(self, other: Tables) -> Tables:
        """Return that of both."""
        return Tables(
            self.sums + other.sums,
            self.counts + other.counts,
            up(self.widths + other.widths),
            self.extent.merge(other.extent),
        )


@dataclass(frozen=True, kw_only=True)
class YosoShards:
    """One call of `Yoso`."""

    method: Any
    call: Call

    def __post_init__(self) -> None:
        m = self.method
        if not fits(m.hashes, m.bits, self.call.dv):
            size = m.hashes * (1 << m.bits) * (self.call.dv + 1)
            msg = (
                f"hashes(={m.hashes}) of bits(={m.bits}) have tables of {size} numbers, and blocks "
                f"of tokens hold up to {LARGEST}: lower one of them"
            )
            raise ValueError(msg)

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The tables."""
        return (Pass(name="state", takes=("k", "v"), fold=self.fold, long=True),)

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The output."""
        return (Answer(name="out", takes=("q",), give=self.query),)

    scan = None

    def fold(self, known: Known, first: int, k: Array, v: Array) -> Tables:
        """Return the tables of keys and values."""
        del known, first
        one = keys_alone(k, v)
        problem = pose(one.xp.ones_like(one.k[..., :1, :]), one.k, one.v)
        check_zero_rows(problem, self.method.zero_rows)
        keys, values, normals = self._flat(problem.k), self._flat(problem.v), self._normals()
        found = [self._tables(*item, normals) for item in zip(keys, values, strict=True)]
        sums, counts = (np.stack(x) for x in zip(*found, strict=True))
        return Tables(sums, counts, column_widths(problem), extent_of(problem))

    def query(self, known: Known, first: int, q: Array) -> Answers:
        """Return the output of queries."""
        del first
        state: Tables = known["state"]
        problem = beside(q, state.extent, None)
        ones = problem.xp.ones_like(problem.q[..., :1, :])
        check_zero_rows(pose(problem.q, ones, ones), self.method.zero_rows)
        top, normals = float(problem.xp.max(problem.xp.abs(problem.v))), self._normals()
        factor = power_of_two(top, problem.dtype)
        items = zip(self._flat(problem.q), state.sums, state.counts, strict=True)
        parts = [self._read(x, table / factor, counts, normals) for x, table, counts in items]
        mean, squares, counts = (
            np.reshape(np.stack(x), (*problem.batch, *x[0].shape)) for x in zip(*parts, strict=True)
        )
        groups = self.method.groups(problem.d, problem.dv)
        run = Sample(
            mean=_arrays.from_host(mean, problem.q) * factor,
            squares=None if len(groups) == 1 else squares,
            counts=counts,
            factor=factor,
        )
        failure = (1 - self.method.confidence) * problem.n_q / self.call.queries
        return {"value": self.method.certified(problem, run, failure, state.widths)}

    def _tables(
        self, keys: HostArray, values: HostArray, normals: HostArray
    ) -> tuple[HostArray, HostArray]:
        """Return the tables of one leading index, and how many keys each bucket holds."""
        buckets, block = self.method.hashes << self.method.bits, key_block(self.method.bits)
        codes, total = packed_codes(keys, normals), np.zeros((buckets, values.shape[-1]))
        for start in range(0, len(keys), block):
            own = slice(start, start + block)
            total += tables(values[own], codes[own], buckets, block)
        return total, np.bincount(codes.reshape(-1), minlength=buckets)

    def _read(
        self, x: HostArray, table: HostArray, counted: HostArray, normals: HostArray
    ) -> tuple[HostArray, HostArray, HostArray]:
        """Return means, squares and counts of the queries of one leading index."""
        entrywise, groups = self.method.bound == "bernstein", self.method.groups(*self._widths)
        table, codes = table.astype(self.call.dtype), packed_codes(x, normals)
        parts = [codes[first : first + TOKENS] for first in range(0, len(x), TOKENS)]
        found = [read_tables(part, table, groups, entrywise) for part in parts]
        means, squares = (np.concatenate(y) for y in zip(*found, strict=True))
        counts = [counted[part].sum(axis=1) / self.method.hashes for part in parts]
        return means, squares, np.concatenate(counts)

    @property
    def _widths(self) -> tuple[int, int]:
        return self.call.d, self.call.dv

    def _normals(self) -> HostArray:
        m, rng = self.method, np.random.default_rng(self.call.seed)
        draw = draw_hyperplanes if m.hashing == "gaussian" else draw_hadamard
        like = np.zeros((1, self.call.d), self.call.dtype)
        return np.asarray(draw(m.hashes, m.bits, like, rng))

    def _flat(self, x: Array) -> HostArray:
        """Return the leading indices on one axis, on the host."""
        host = _arrays.to_host(x)
        return np.reshape(host, (-1, *host.shape[-2:]))
