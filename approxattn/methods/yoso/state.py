"""Keys and values folded into hash tables, to be queried, extended and merged.

Symbols as in `hash_error`: m hashes of b bits, W_c = sum_j |v_jc|.

1. The table of a hash holds, for each code, the sum of the values of the keys with that code. So
   tables of the same hyperplanes add, and all that a query needs is m 2^b dv numbers.
2. Causal continuation: query i reads the table of the keys before its chunk, and meets those of its
   own chunk up to i one by one, by the share of hashes in which their codes agree. This is the sum
   over j <= i of the same collisions, so its expectation is causal YOSO-E.
3. Tables are float64, whatever the values are: a sum over all keys and hashes is off by
   gamma_{2 n + 2 m + 12}(2^-53) W_c (`numpy_tables`), in any order of merging. It is rounded once
   to the dtype computed in.
4. Hoeffding's inequality with W_c of all keys seen serves rows that saw fewer of them, too. It is
   one over the draws of the hashes, for queries, keys and values that do not depend on them; the
   tokens that a decoder makes of outputs do.

Tables lie on the host, in NumPy, whatever library queries come from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.concentration import hoeffding
from approxattn.bounds.rounding import U64, gamma, up
from approxattn.bounds.scores import column_widths
from approxattn.certificate import Approximation, Certificate
from approxattn.hashing.directions import check_zero_rows
from approxattn.methods.states.folded import SavedKeys, Widths, zeros_like
from approxattn.methods.yoso.hash_error import Hashes
from approxattn.methods.yoso.numpy_tables import key_block, packed_codes, read_tables, tables
from approxattn.methods.yoso.state_file import FILE

CHUNK = 64
"""Tokens that meet each other pair by pair. *Chosen*: tables then cost more than pairs."""

INDEPENDENT = "queries, keys and values that do not depend on the draws"


@dataclass(frozen=True, kw_only=True, eq=False)
class YosoState(SavedKeys):
    """What YOSO remembers of the keys and values it has seen; made by `Yoso.state`.

    Attributes
    ----------
    bits, hashes : int
        Hyperplanes of one hash, and number of hashes.
    hashing : str
        "gaussian" or "hadamard".
    zero_rows : str
        As in `Yoso`.
    confidence : float
        Probability with which the bounds of a query hold, over the draws of the hashes, if queries,
        keys and values do not depend on these.
    dtype : str
        What queries and keys are computed in.
    normals : ndarray, shape (hashes, bits, d)
        The hyperplanes.
    tables : ndarray, shape (..., hashes 2^bits, dv)
        Sums of the values by code, one hash after the other.
    widths : ndarray, shape (..., dv)
        Sums of the sizes of the values, rounded up.
    keys : ndarray of int, shape (...)
        Number of keys seen.
    """

    bits: int
    hashes: int
    hashing: str
    zero_rows: str
    confidence: float
    dtype: str
    normals: HostArray
    tables: HostArray
    widths: HostArray
    keys: HostArray

    MADE_BY: ClassVar[str] = "Yoso.state"
    FILE = FILE

    @property
    def _widths(self) -> Widths:
        return Widths(self.normals.shape[-1], self.tables.shape[-1], None)

    def _like(self, q: Array) -> Array:
        return zeros_like(q, self.keys.shape, self.dtype)

    def _with_keys(self, problem: Problem) -> Self:
        return self.merge(self.like(problem))

    def _merged(self, other: Self) -> Self:
        if not np.array_equal(self.normals, other.normals):
            msg = "other has other hyperplanes: make both states with equal generators"
            raise ValueError(msg)
        return replace(
            self,
            tables=self.tables + other.tables,
            widths=up(self.widths + other.widths),
            keys=self.keys + other.keys,
        )

    def _answered(self, problem: Problem) -> Approximation:
        check_zero_rows(replace(problem, k=problem.q), self.zero_rows)  # its key is a row of zeros
        found = np.empty((*problem.batch, problem.n_q, self.tables.shape[-1]))
        host = _arrays.to_host(problem.q)
        for index in np.ndindex(*problem.batch):
            codes = packed_codes(host[index], self._normals)
            found[index] = read_tables(codes, self.tables[index], [self.hashes], False)[0]
        return self._certified(problem, found)

    def _attended(self, problem: Problem) -> tuple[Approximation, Self]:
        check_zero_rows(problem, self.zero_rows)
        after, found = self.tables.copy(), np.empty((*problem.batch, problem.n_k, problem.dv))
        arrays = [_arrays.to_host(x) for x in (problem.q, problem.k, problem.v)]
        for index in np.ndindex(*problem.batch):
            own_q, own_k, own_v = (x[index] for x in arrays)
            self._walk(own_q, own_k, own_v, after[index], found[index])
        widths = up(self.widths + column_widths(problem))
        state = replace(self, tables=after, widths=widths, keys=self.keys + problem.n_k)
        return state._certified(problem, found), state

    def like(self, problem: Problem) -> Self:
        """Return the state of the keys of a problem alone, with these hyperplanes."""
        check_zero_rows(problem, self.zero_rows)
        k, v = (_arrays.to_host(x) for x in (problem.k, problem.v))
        found = np.zeros((*problem.batch, self.hashes << self.bits, problem.dv))
        for index in np.ndindex(*problem.batch):
            codes = packed_codes(k[index], self._normals)
            values = v[index].astype(np.float64)
            found[index] = tables(values, codes, found.shape[-2], key_block(self.bits))
        keys = np.full(problem.batch, problem.n_k)
        if problem.key_mask is not None:
            keys = np.asarray(np.sum(_arrays.to_host(problem.key_mask), axis=-1))
        return replace(
            self, dtype=problem.dtype, tables=found, widths=column_widths(problem), keys=keys
        )

    @property
    def _normals(self) -> HostArray:
        return self.normals.astype(self.dtype)

    def _walk(
        self, q: HostArray, k: HostArray, v: HostArray, table: HostArray, out: HostArray
    ) -> None:
        """Set out to the sums of one item's tokens, and add their keys to its table."""
        q_codes, k_codes = (packed_codes(x, self._normals) for x in (q, k))
        values = v.astype(np.float64)
        for start in range(0, len(q), CHUNK):
            rows = slice(start, start + CHUNK)
            mine, theirs, own = q_codes[rows], k_codes[rows], values[rows]
            met = np.sum(mine[:, None] == theirs[None], axis=-1, dtype=np.float64)
            earlier = read_tables(mine, table, [self.hashes], False)[0]
            out[rows] = earlier + np.tril(met) @ own / self.hashes
            np.add.at(table, theirs.reshape(-1), np.repeat(own, self.hashes, axis=0))

    def _certified(self, problem: Problem, found: HostArray) -> Approximation:
        """Return sums over hashes with their certificate, for queries posed as a problem."""
        family = Hashes(bits=self.bits, count=self.hashes, kind=self.hashing)
        n_q, delta, dv = problem.n_q, 1 - self.confidence, found.shape[-1]
        most = max(1, int(np.max(self.keys, initial=0)))
        off = hoeffding(family.blocks(problem.d), max(1, n_q * dv), delta)
        off += family.wrong_codes(problem) + gamma(2 * most + 2 * self.hashes + 12, U64)
        size = np.max(self.widths, axis=-1, initial=0.0)
        tiny = (most + 2) * _arrays.smallest_normal(problem.dtype)
        rows = up(size * off + 2 * problem.u * size + tiny)[..., None]
        value = _arrays.cast(_arrays.from_host(found, problem.q), problem.dtype, problem.xp)
        gaussian = self.hashing == "gaussian"
        certificate = Certificate(
            rows=np.broadcast_to(rows, found.shape[:-1]),
            target="YOSO-E" if gaussian else "the expectation of YOSO under Hadamard hashing",
            theorem="ours.l1-hoeffding",
            failure=delta if math.prod(found.shape) else 0.0,
            facts={
                "bits": self.bits,
                "hashes": self.hashes,
                "hashing": self.hashing,
                "l1 width of a value column": size,
                "keys": self.keys,
                "holds for": INDEPENDENT,
            },
        )
        return Approximation(value=value, certificate=certificate)

    def _terms(self) -> dict[str, object]:
        return {
            "bits": self.bits,
            "hashes": self.hashes,
            "hashing": self.hashing,
            "zero_rows": self.zero_rows,
            "confidence": self.confidence,
            "dtype": self.dtype,
            "shape": self.tables.shape,
        }


def refuse_what_no_state_has(method: Any) -> None:
    """Raise ValueError where a `Yoso` needs more than tables."""
    if method.normalize:
        msg = (
            "normalize=True with a state: divide the rows of the output by their lengths "
            "yourself, or use attention"
        )
        raise ValueError(msg)
    if method.bound == "bernstein":
        msg = (
            "bound(='bernstein') needs the variance over hashes of what each query reads, "
            "which a state does not keep: use bound='hoeffding'"
        )
        raise ValueError(msg)


def made(settings: Any, problem: Problem, normals: HostArray) -> YosoState:
    """Return the state of the keys of a problem, for a `Yoso` and these hyperplanes."""
    empty = YosoState(
        bits=settings.bits,
        hashes=settings.hashes,
        hashing=settings.hashing,
        zero_rows=settings.zero_rows,
        confidence=settings.confidence,
        dtype=problem.dtype,
        normals=normals,
        tables=np.empty(0),
        widths=np.empty(0),
        keys=np.empty(0, int),
    )
    return empty.like(problem)
