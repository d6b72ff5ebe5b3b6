"""Attention to a few heavy keys exactly, and to the means of similar keys for the rest.

Queries that are alike look at the same keys: each block of similar queries c finds the T keys with
the largest scores for its mean query, in O(n d) for all its queries together. Every query then
meets these keys exactly, and what is left of K blocks of similar keys through its mean, weighted by
the number of keys it stands for:

    out_i = (sum_{j in T_c} e^{s_ij} v_j + sum_b m_cb e^{beta q_i . k_cb} v_cb) / (the same with 1
        for v).

O(n (T + K) (d + dv)) for n queries and keys, besides C n d for the search with C blocks of queries
and O(n d log(C K)) for the blocks. Related: the clustered attention of Vyas, Katharopoulos &
Fleuret (2020, arXiv 2007.04825; wording unverified) gives all queries of a cluster the weights of
its centre, corrected on its top keys; here the weights are each query's own, on heavy keys and on
means. Blocks and certificate: `approxattn.sketching.trees`,
`approxattn.methods.low_rank.heavy_bounds`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from approxattn import _arrays, sketching
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.gradients import no_gradient_bounds
from approxattn.bounds.values import range_bound
from approxattn.certificate import (
    SOFTMAX,
    SOFTMAX_GRADIENT,
    Approximation,
    Certificate,
    GradientCertificate,
    Gradients,
)
from approxattn.methods.low_rank.combinations import visible
from approxattn.methods.low_rank.heavy_bounds import heavy_bound
from approxattn.methods.low_rank.heavy_keys import HeavyAndMeans, heaviest
from approxattn.sketching import MeanPool
from approxattn.sketching.rows import gather
from approxattn.softmax.biased import Reduced, attend, attend_gradient


class _Meeting(NamedTuple):
    """Queries in blocks, what they meet, and the way there."""

    reduced: Reduced
    queries: MeanPool
    keys: HeavyAndMeans
    means: Array  # of the blocks of keys


@dataclass(frozen=True, kw_only=True)
class Clustered:
    """Attention to heavy keys exactly and to means of similar keys for the rest.

    Parameters
    ----------
    heavy : int
        Number T of keys that each query meets exactly, >= 0; all visible ones if there are no more.
    key_blocks : int
        Number K of blocks of similar keys, a power of two; a block for each key if there are fewer.
    query_blocks : int
        Number C of blocks of similar queries, each with heavy keys of its own, a power of two.

    Raises
    ------
    TypeError
        If a parameter is not an int.
    ValueError
        If a parameter is out of its range.

    Notes
    -----
    The certificate holds surely: scores of keys that are not heavy are off by at most ``scale |q|``
    times the radius of their block, and their weight is known. There is no causal form: blocks hold
    later tokens. The gradient is that of the output for the blocks and heavy keys it has.
    """

    heavy: int = 64
    key_blocks: int = 32
    query_blocks: int = 32

    randomised: ClassVar[bool] = False
    why_not_causal: ClassVar[str] = (
        "its blocks mix earlier tokens with later ones; use Exact(), Performer(...) or "
        "Polynomial(...)"
    )
    why_no_scale: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, least in (("heavy", 0), ("key_blocks", 1), ("query_blocks", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                msg = f"{name}(={value!r}) must be an int"
                raise TypeError(msg)
            if value < least:
                msg = f"{name}(={value}) must be at least {least}"
                raise ValueError(msg)
            if name != "heavy" and value & (value - 1):
                below = 2 ** (value.bit_length() - 1)
                msg = (
                    f"{name}(={value}) must be a power of two, since blocks are halved: use "
                    f"{below} or {2 * below}"
                )
                raise ValueError(msg)

    # Protocol.
    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate."""
        del rng
        xp = problem.xp
        if problem.n_q == 0:
            return Approximation(
                value=problem.q[..., :0] @ problem.v[..., :0, :], certificate=_nothing(problem)
            )
        meeting = self._meet(problem)
        part, width = meeting.reduced.problem, meeting.keys.heavy.shape[-1]
        rest = xp.concat(
            [xp.zeros_like(part.v[..., :width, :1]), xp.ones_like(part.v[..., width:, :1])], axis=-2
        )
        both = attend(
            replace(meeting.reduced, problem=replace(part, v=xp.concat([part.v, rest], axis=-1)))
        )
        bound = heavy_bound(problem, meeting.keys, meeting.means, meeting.reduced, both[..., -1:])
        value = _in_order(both[..., :-1], meeting.queries)
        rows, eta, share = (
            _host_in_order(x, meeting.queries) for x in (bound.rows, bound.eta, bound.share)
        )
        facts = {**self._facts(meeting), "score error of means": eta, "weight of means": share}
        certificate = Certificate(
            rows=np.fmin(rows, range_bound(value, problem)),
            target=SOFTMAX,
            theorem="ours.tanh-part",
            facts=facts,
        )
        return Approximation(value=value, certificate=certificate)

    # Protocol.
    def vjp(
        self, problem: Problem, dout: Array, rng: np.random.Generator | None = None
    ) -> Gradients:
        """Return dq, dk, dv of the output for the cotangent dout, shape (..., n_q, dv)."""
        del rng
        meeting, xp = self._meet(problem), problem.xp
        blocks = gather(dout, _flat(meeting.queries))
        blocks = xp.reshape(blocks, (*meeting.reduced.problem.q.shape[:-1], problem.dv))
        real = _arrays.from_host(_real(meeting.queries)[..., None], dout)
        dq, dkeys, dvalues = attend_gradient(
            meeting.reduced, xp.where(real, blocks, xp.zeros_like(blocks))
        )
        bounds = no_gradient_bounds(problem)
        certificate = GradientCertificate(
            dq=bounds.dq,
            dk=bounds.dk,
            dv=bounds.dv,
            target=SOFTMAX_GRADIENT,
            theorem="ours.gradient",
            facts=self._facts(meeting),
            unmet=("no bound has been derived for the gradient through heavy keys and means",),
        )
        dk, dv = (meeting.keys.adjoint(y) for y in (dkeys, dvalues))
        return Gradients(dq=_in_order(dq, meeting.queries), dk=dk, dv=dv, certificate=certificate)

    def _meet(self, problem: Problem) -> _Meeting:
        xp, seen = problem.xp, visible(problem)
        queries = sketching.similar_pool(
            _arrays.to_host(problem.q), np.ones(problem.n_q, bool), self.query_blocks
        )
        pool = sketching.similar_pool(_arrays.to_host(problem.k), seen, self.key_blocks)
        keys = self._heavy(problem, queries, pool, seen)
        means = pool.apply(problem.k)
        q = gather(problem.q, _flat(queries))
        q = xp.reshape(q, (*queries.members.shape, problem.d))
        there, left = keys.there(), keys.left
        logs = np.concatenate(
            [np.zeros(keys.heavy.shape), np.log(np.maximum(left, 1))], axis=-1
        ).astype(problem.dtype)
        part = replace(
            problem,
            q=q,
            k=keys.apply(problem.k, means),
            v=keys.apply(problem.v, pool.apply(problem.v)),
            key_mask=_arrays.from_host(there, problem.q),
        )
        reduced = Reduced(problem=part, bias=_arrays.from_host(logs[..., None, :], problem.q))
        return _Meeting(reduced, queries, keys, means)

    def _heavy(
        self, problem: Problem, queries: MeanPool, pool: MeanPool, seen: HostArray
    ) -> HeavyAndMeans:
        """Return the keys with the largest scores for the mean query of each block."""
        xp, count = problem.xp, min(self.heavy, problem.n_k)
        scores = xp.matmul(queries.apply(problem.q) * problem.scale, xp.matrix_transpose(problem.k))
        if problem.key_mask is not None:
            scores = xp.where(problem.key_mask[..., None, :], scores, xp.full_like(scores, -xp.inf))
        heavy = heaviest(scores, count) if count else np.zeros((*scores.shape[:-1], 0), int)
        everyone = np.broadcast_to(seen, (*problem.batch, problem.n_k))[..., None, :]
        real = np.take_along_axis(np.broadcast_to(everyone, scores.shape), heavy, axis=-1)
        return HeavyAndMeans(pool=pool, heavy=heavy, real=real)

    def _facts(self, meeting: _Meeting) -> dict[str, object]:
        keys = meeting.keys
        return {
            "heavy": keys.heavy.shape[-1],
            "key blocks": keys.left.shape[-1],
            "query blocks": keys.left.shape[-2],
        }


def _nothing(problem: Problem) -> Certificate:
    return Certificate(rows=np.zeros((*problem.batch, 0)), target=SOFTMAX, theorem="ours.tanh-part")


def _real(pool: MeanPool) -> HostArray:
    """Return which slots of the blocks hold tokens, shape (..., C, s)."""
    return np.arange(pool.members.shape[-1]) < pool.counts[..., None]


def _flat(pool: MeanPool) -> HostArray:
    *batch, blocks, size = pool.members.shape
    return np.reshape(pool.members, (*batch, blocks * size))


def _slots(pool: MeanPool) -> HostArray:
    """Return the slot of each token, shape (..., n)."""
    members, real = _flat(pool), np.reshape(_real(pool), _flat(pool).shape)
    order = np.argsort(np.where(real, members, pool.length), axis=-1, kind="stable")
    return order[..., : pool.length]


def _in_order(x: Array, pool: MeanPool) -> Array:
    """Return rows of blocks as rows of tokens, shape (..., C, s, m) -> (..., n, m)."""
    xp = _arrays.namespace(x=x)
    return gather(
        xp.reshape(x, (*x.shape[:-3], x.shape[-3] * x.shape[-2], x.shape[-1])), _slots(pool)
    )


def _host_in_order(x: HostArray, pool: MeanPool) -> HostArray:
    return np.take_along_axis(np.reshape(x, _flat(pool).shape), _slots(pool), axis=-1)
