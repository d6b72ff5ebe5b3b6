"""Nystrom attention over blocks of tokens.

Symbols as in `nystrom`: out = F Z B V. Landmarks are means of contiguous blocks, so they come from
sums over all tokens. B V is plain attention of the landmark queries to all keys, which pass once
more. Then each query needs the landmark keys and X = Z (B V) only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_memory
from approxattn._arrays import Array, HostArray
from approxattn._problem import pose
from approxattn.bounds.elsewhere import Extent, beside, extent_of, keys_alone, queries_alone
from approxattn.bounds.values import range_bound
from approxattn.certificate import SOFTMAX, Approximation, Certificate
from approxattn.methods.low_rank.blocks.combining import Pooled
from approxattn.methods.sharded import Answer, Answers, Call, Known, Pass
from approxattn.softmax.carried import Carried, Rows, nothing_seen, see
from approxattn.softmax.scores import row_softmax
from approxattn.softmax.streaming import attend

NO_THEOREM = (
    "no theorem bounds the error of landmarks: the bound is what the range of v alone implies"
)


class QuerySums(NamedTuple):
    """Sums of blocks of queries, shape (..., L, d)."""

    sums: HostArray

    def merge(self, other: QuerySums) -> QuerySums:
        """Return those of both."""
        return QuerySums(self.sums + other.sums)


class KeySums(NamedTuple):
    """Sums of blocks of keys, shape (..., L, d), of all values, shape (..., 1, dv), and the extent
    of both.
    """

    sums: HostArray
    values: HostArray
    extent: Extent

    def merge(self, other: KeySums) -> KeySums:
        """Return those of both."""
        extent = self.extent.merge(other.extent)
        return KeySums(self.sums + other.sums, self.values + other.values, extent)


class Landmarks(NamedTuple):
    """Landmark queries and keys, A, and the centre of the values, on the host."""

    queries: HostArray
    keys: HostArray
    a: HostArray
    centre: HostArray
    extent: Extent


@dataclass(frozen=True, kw_only=True)
class NystromShards:
    """One call of `Nystrom`."""

    method: Any
    call: Call

    def __post_init__(self) -> None:
        m, n_q, n_k = self.method, self.call.queries, self.call.keys
        if m.mask_queries and n_q != n_k:
            msg = (
                f"mask_queries=True with {n_q} queries and {n_k} keys: it is for self-attention, "
                "where both are the same tokens"
            )
            raise ValueError(msg)
        numbers = min(m.landmarks, n_q) * min(m.landmarks, n_k) * (m.iterations + 6)
        check_memory("landmarks", m.landmarks, numbers, "matrices between landmarks")

    @property
    def passes(self) -> tuple[Pass, ...]:
        """Landmark queries and keys, and what the queries among them see of all keys."""
        return (
            Pass(name="queries", takes=("q",), fold=self.add_queries),
            Pass(name="landmarks", takes=("k", "v"), fold=self.add_keys, settle=self.settle),
            Pass(name="state", takes=("k", "v"), fold=self.fold, settle=self.inverted, long=True),
        )

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The output."""
        return (Answer(name="out", takes=("q",), give=self.query),)

    scan = None

    @property
    def _of_queries(self) -> Pooled:
        return Pooled(rank=self.method.landmarks, n=self.call.queries)

    @property
    def _of_keys(self) -> Pooled:
        return Pooled(rank=self.method.landmarks, n=self.call.keys)

    def add_queries(self, known: Known, first: int, q: Array) -> QuerySums:
        """Return what queries add to the landmarks."""
        del known
        problem = queries_alone(q, self.call.scale)
        return QuerySums(self._of_queries.add(first, _arrays.to_host(problem.q)))

    def add_keys(self, known: Known, first: int, k: Array, v: Array) -> KeySums:
        """Return what keys and values add to the landmarks and to the centre."""
        del known
        problem = keys_alone(k, v)
        values = np.asarray(np.sum(_arrays.to_float64(problem.v), axis=-2, keepdims=True))
        sums = self._of_keys.add(first, _arrays.to_host(problem.k))
        return KeySums(sums, values, extent_of(problem))

    def settle(self, known: Known, found: KeySums) -> Landmarks:
        """Return the landmarks."""
        dtype = self.call.dtype
        q = (known["queries"].sums / self._of_queries.counts[:, None]).astype(dtype)
        k = (found.sums / self._of_keys.counts[:, None]).astype(dtype)
        problem = pose(q, k, k, scale=self.call.scale)
        a = row_softmax(np.matmul(problem.q * problem.scale, np.swapaxes(k, -1, -2)), problem.xp)
        centre = (found.values / self.call.keys).astype(dtype)
        centre = centre if self.method.centred else np.zeros_like(centre)
        return Landmarks(q, k, a, centre, found.extent)

    def fold(self, known: Known, first: int, k: Array, v: Array) -> Carried:
        """Return what the landmark queries see of some keys."""
        marks: Landmarks = known["landmarks"]
        problem = keys_alone(k, v, self.call.scale)
        q = _arrays.from_host(marks.queries, problem.k)
        values = problem.v - _arrays.from_host(marks.centre, problem.v)
        queries, keys = Rows(q * problem.scale, 0, q), Rows(problem.k, first, values)
        return see(
            nothing_seen(queries, self.call.dv, problem.xp), queries, keys, False, problem.xp
        )

    def inverted(self, known: Known, seen: Carried) -> Array:
        """Return X = Z (B V)."""
        xp = _arrays.namespace(x=seen.sums)
        z = self.method.inverse(_arrays.from_host(known["landmarks"].a, seen.sums), xp)
        return xp.matmul(z, seen.value)

    def query(self, known: Known, first: int, q: Array) -> Answers:
        """Return the output of queries."""
        del first
        marks: Landmarks = known["landmarks"]
        problem = beside(q, marks.extent, self.call.scale)
        plain = queries_alone(q, self.call.scale)
        keys = _arrays.from_host(marks.keys, plain.q)
        value = attend(replace(plain, k=keys, v=known["state"]))
        value = value + _arrays.from_host(marks.centre, plain.q)
        certificate = Certificate(
            rows=range_bound(value, problem),
            target=SOFTMAX,
            theorem="ours.value-range",
            facts=self.method.facts_of(marks.a),
            unmet=(NO_THEOREM,),
        )
        return {"value": Approximation(value=value, certificate=certificate)}
