"""Exact attention over blocks of tokens: each block of queries passes by all keys.

There is no state of fixed size, and the work is that of all pairs: a reference to about 2^17
tokens. A gradient keeps three numbers of each query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import refuse_overflow
from approxattn._problem.cotangent import check_cotangent
from approxattn.bounds.elsewhere import (
    Elsewhere,
    Extent,
    beside,
    extent_of,
    keys_alone,
    queries_alone,
)
from approxattn.bounds.gradients import Chains, cotangent_size, exact_gradient_rounding
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import score_bound
from approxattn.bounds.softmax import softmax_rounding
from approxattn.certificate import SOFTMAX, SOFTMAX_GRADIENT, Approximation, Certificate
from approxattn.methods.sharded import Answer, Answers, Call, Known, Pass, Tokens
from approxattn.softmax.carried import (
    Carried,
    Finished,
    Rows,
    key_gradients,
    nothing_seen,
    query_gradient,
    see,
)
from approxattn.softmax.streaming import KEY_BLOCK


class Keys(NamedTuple):
    """Extent of the keys, and in how many blocks they are taken."""

    extent: Extent
    blocks: int

    def merge(self, other: Keys) -> Keys:
        """Return that of both."""
        return Keys(self.extent.merge(other.extent), self.blocks + other.blocks)


class Queries(NamedTuple):
    """What is left of all queries, and the bounds of dk and dv, shapes (...)."""

    done: Finished
    dk: HostArray
    dv: HostArray

    def merge(self, other: Queries) -> Queries:
        """Return that of both."""
        done = self.done.merge(other.done)
        return Queries(done, up(self.dk + other.dk), up(self.dv + other.dv))


@dataclass(frozen=True, kw_only=True)
class ExactShards:
    """One call of `Exact`."""

    call: Call

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The extent of keys and values."""
        return (Pass(name="keys", takes=("k", "v"), fold=self.measure),)

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The output."""
        return (Answer(name="out", takes=("q",), give=self.output, across=("k", "v")),)

    scan = None

    def measure(self, known: Known, first: int, k: Array, v: Array) -> Keys:
        """Return the extent of keys and values."""
        del known, first
        problem = keys_alone(k, v)
        return Keys(extent_of(problem), -(-problem.n_k // KEY_BLOCK))

    def output(self, known: Known, first: int, q: Array, whole: Tokens) -> Answers:
        """Return the output of some queries."""
        problem, seen, _ = self._seen(known, first, q, whole)
        bound = score_bound(problem)
        certificate = Certificate(
            rows=softmax_rounding(problem, bound, KEY_BLOCK, known["keys"].blocks),
            target=SOFTMAX,
            theorem="ours.tanh",
            facts={"score bound": bound, "unit roundoff": problem.u},
        )
        return {"value": Approximation(value=seen.value, certificate=certificate)}

    def _seen(
        self, known: Known, first: int, q: Array, whole: Tokens
    ) -> tuple[Elsewhere, Carried, Rows]:
        """Return what queries see of all keys."""
        problem = beside(q, known["keys"].extent, self.call.scale)
        xp, queries = problem.xp, Rows(problem.q * problem.scale, first, problem.q)
        seen = nothing_seen(queries, self.call.dv, xp)
        for keys in self._keys(whole, first + problem.n_q):
            seen = see(seen, queries, keys, self.call.causal, xp)
        return problem, seen, queries

    def _keys(self, whole: Tokens, stop: int) -> Any:
        """Yield the pieces of keys and values that queries before `stop` may see."""
        for start, (k, v) in whole.pieces(stop if self.call.causal else None):
            problem = keys_alone(k, v)
            yield Rows(problem.k, start, problem.v)


@dataclass(frozen=True, kw_only=True)
class ExactGradientShards:
    """One call of the gradient of `Exact`."""

    call: Call

    @property
    def _forward(self) -> ExactShards:
        return ExactShards(call=self.call)

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The extent of keys and values; the output of each query, of which little is kept."""
        return (
            *self._forward.passes,
            Pass(
                name="queries",
                takes=("q", "dout"),
                fold=self.finish,
                across=("k", "v"),
                long=True,
            ),
        )

    @property
    def answers(self) -> tuple[Answer, ...]:
        """dq, and dk with dv."""
        return (
            Answer(name="dq", takes=("q", "dout"), give=self.of_queries, across=("k", "v")),
            Answer(name="dkv", takes=("k", "v"), give=self.of_keys, across=("q", "dout")),
        )

    scan = None

    def finish(self, known: Known, first: int, q: Array, dout: Array, whole: Tokens) -> Queries:
        """Return what the gradient needs of some queries."""
        problem, seen, _ = self._forward._seen(known, first, q, whole)
        g = self._cotangent(problem, q, dout)
        kappa = problem.xp.sum(g * seen.value, axis=-1, keepdims=True)
        bounds = self._bounds(known, problem, g)
        done = Finished(seen.top, seen.sums[..., -1:], kappa)
        return Queries(done, bounds.dk[..., 0], bounds.dv[..., 0])

    def of_queries(self, known: Known, first: int, q: Array, dout: Array, whole: Tokens) -> Answers:
        """Return dq of some queries."""
        problem = beside(q, known["keys"].extent, self.call.scale)
        xp, g = problem.xp, self._cotangent(problem, q, dout)
        queries = Rows(problem.q * problem.scale, first, problem.q)
        done = known["queries"].done.rows(first, first + problem.n_q)
        total = xp.zeros_like(problem.q)
        for keys in self._forward._keys(whole, first + problem.n_q):
            total = total + query_gradient(queries, g, done, keys, self.call.causal, xp)
        rows = self._bounds(known, problem, g).dq
        return {"dq": self._part(total * problem.scale, rows, problem.u)}

    def of_keys(self, known: Known, first: int, k: Array, v: Array, whole: Tokens) -> Answers:
        """Return dk and dv of some keys."""
        problem = keys_alone(k, v, self.call.scale)
        xp, keys = problem.xp, Rows(problem.k, first, problem.v)
        found: Queries = known["queries"]
        dk, dv = xp.zeros_like(problem.k), xp.zeros_like(problem.v)
        for start, (q, dout) in whole.pieces():
            n = q.shape[-2]
            if self.call.causal and start + n <= first:
                continue
            posed = queries_alone(q, self.call.scale)
            g = _arrays.cast(dout, posed.dtype, xp)
            queries = Rows(posed.q * posed.scale, start, posed.q)
            own = found.done.rows(start, start + n)
            more = key_gradients(queries, g, own, keys, self.call.causal, xp)
            dk, dv = dk + more[0], dv + more[1]
        shape = (*problem.batch, problem.n_k)
        rows = (np.broadcast_to(x[..., None], shape) for x in (found.dk, found.dv))
        parts = zip(("dk", "dv"), (dk, dv), rows, strict=True)
        return {name: self._part(value, row, problem.u) for name, value, row in parts}

    def _cotangent(self, problem: Elsewhere, q: Array, dout: Array) -> Array:
        g = check_cotangent(dout, problem, q)
        top = float(problem.xp.max(problem.xp.abs(g)))
        refuse_overflow("n max|dout|", 2 * self.call.queries * top, problem.dtype)
        return g

    def _bounds(self, known: Known, problem: Elsewhere, dout: Array) -> Any:
        # a key meets every query once, in blocks or one by one
        chains = Chains(known["keys"].blocks, self.call.queries)
        size = cotangent_size(dout, problem.xp)
        return exact_gradient_rounding(problem, size, KEY_BLOCK, chains)

    def _part(self, value: Array, rows: HostArray, u: float) -> Approximation:
        certificate = Certificate(
            rows=rows,
            target=SOFTMAX_GRADIENT,
            theorem="ours.gradient",
            facts={"unit roundoff": float(u)},
        )
        return Approximation(value=value, certificate=certificate)
