"""Attention to a few heavy keys exactly, and to the means of similar keys for the rest.

1. Queries that are alike look at the same keys. So each block c of similar queries finds the T keys
   with the largest scores for its mean query, in O(n d) for all its queries together.
2. Every query of the block meets these keys exactly.
3. It meets what is left of K blocks of similar keys through means: k_cb and v_cb of the m_cb keys
   of block b that are not heavy for c, weighted by their number,

    out_i = (sum_{j in T_c} e^{s_ij} v_j + sum_b m_cb e^{beta q_i . k_cb} v_cb) / (the same with 1
        for v).

Cost for n queries and keys: O(n (T + K) (d + dv)), besides C n d for the search with C blocks of
queries and O(n d log(C K)) for the blocks.

Related: the clustered attention of Vyas, Katharopoulos & Fleuret (2020, arXiv 2007.04825; wording
unverified) gives all queries of a cluster the weights of its centre, corrected on its top keys.
Here the weights are each query's own, on heavy keys and on means.

Blocks and certificate: `approxattn.sketching.trees`, `approxattn.methods.low_rank.heavy_bounds`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from approxattn import _arrays, sketching
from approxattn._arguments import check_integer, check_memory, keep
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn._problem.time_needed import PRODUCT, SCORE, check_setting
from approxattn.bounds.gradients import no_gradient_bounds
from approxattn.bounds.values import range_bound
from approxattn.certificate import (
    SOFTMAX,
    Approximation,
    Certificate,
    Gradients,
)
from approxattn.methods.costs import Costed, Size
from approxattn.methods.low_rank.combinations import visible
from approxattn.methods.low_rank.heavy_bounds import heavy_bound
from approxattn.methods.low_rank.heavy_keys import HeavyAndMeans, heaviest
from approxattn.methods.protocol import Sizes
from approxattn.sketching import MeanPool
from approxattn.sketching.rows import gather
from approxattn.softmax.biased import Reduced, attend, attend_gradient
from approxattn.softmax.scores import SCORES_AT_ONCE, rows_at_once


class _Clusters(NamedTuple):
    """Queries in blocks, what they meet, and the way there."""

    reduced: Reduced
    queries: MeanPool
    keys: HeavyAndMeans
    means: Array  # of the blocks of keys


@dataclass(frozen=True, kw_only=True)
class Clustered(Costed):
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
    MemoryError
        From a call, where the keys of all blocks of queries cannot fit into this machine.

    Notes
    -----
    The certificate holds surely: scores of keys that are not heavy are off by at most ``scale |q|``
    times the radius of their block, and their weight is known. There is no causal form: blocks hold
    later tokens. The gradient is that of the output for the blocks and heavy keys it has.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).uniform(-1, 1, (3, 200, 8))
    >>> out = aa.attention(q, k, v, aa.Clustered(heavy=16))
    >>> exact = aa.attention(q, k, v, aa.Exact()).value
    >>> bool((abs(out.value - exact).max(axis=-1) <= out.certificate.rows).all())
    True
    """

    heavy: int = 64
    key_blocks: int = 32
    query_blocks: int = 32

    randomised: ClassVar[bool] = False
    gradient_of_output: ClassVar[bool] = True
    why_not_causal: ClassVar[str] = (
        "its blocks mix earlier tokens with later ones; use Exact(), Performer(...) or "
        "Polynomial(...)"
    )
    why_no_scale: ClassVar[str] = ""
    averages_values: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, least in (("heavy", 0), ("key_blocks", 1), ("query_blocks", 1)):
            value = check_integer(name, getattr(self, name), least)
            keep(self, **{name: value})
            if name != "heavy" and value & (value - 1):
                below = 2 ** (value.bit_length() - 1)
                msg = (
                    f"{name}(={value}) must be a power of two, since blocks are halved: use "
                    f"{below} or {2 * below}"
                )
                raise ValueError(msg)

    @classmethod
    def sizes(cls) -> tuple[Sizes, ...]:
        """Return the settings that are compared at equal cost: half as many blocks as heavy keys,
        rounded down to a power of two.
        """

        def make(heavy: int) -> Clustered:
            blocks = 1 << max(0, (heavy // 2).bit_length() - 1)
            return cls(heavy=heavy, key_blocks=blocks, query_blocks=blocks)

        return (Sizes(make=make, step=2),)

    def _multiply_adds(self, size: Size) -> float:
        """Return (T + K) (d + dv) a query, C d a key, and 12 d a halving of queries and of keys."""
        halving = 12 * size.d
        query = halving * math.log2(self.query_blocks)
        key = self.query_blocks * size.d + halving * math.log2(self.key_blocks)
        return self._attended(size) + size.items * (size.n_q * query + size.n_k * key)

    def _attended(self, size: Size) -> float:
        met = self.heavy + self.key_blocks
        return float(size.items * size.n_q * met * (size.d + size.dv))

    def _backward_cost(self, size: Size) -> tuple[float, float]:
        """Return attention's four times; the blocks are found once."""
        return self._multiply_adds(size) + 3 * self._attended(size), 1.7 * self._bytes(size)

    def _bytes(self, size: Size) -> float:
        at_once = max(SCORES_AT_ONCE, size.items * size.n_k)
        scored = min(size.items * self.query_blocks * size.n_k, at_once) * (self.heavy > 0)
        found = scored * (3 * size.width + 14)  # and their order, in integers
        met = size.scores(self.heavy + self.key_blocks, 3)
        return size.held(2.4, 3, single=2, double=3) + max(met, found)

    # Protocol.
    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:
        """Return the output, shape (..., n_q, dv), and its certificate."""
        del rng
        xp, clusters = problem.xp, self._cluster(problem)
        part, width = clusters.reduced.problem, clusters.keys.heavy.shape[-1]
        rest = xp.concat(
            [xp.zeros_like(part.v[..., :width, :1]), xp.ones_like(part.v[..., width:, :1])], axis=-2
        )
        both = attend(
            replace(clusters.reduced, problem=replace(part, v=xp.concat([part.v, rest], axis=-1)))
        )
        bound = heavy_bound(
            problem, clusters.keys, clusters.means, clusters.reduced, both[..., -1:]
        )
        value = _in_order(both[..., :-1], clusters.queries)
        rows, eta, share = (
            _host_in_order(x, clusters.queries) for x in (bound.rows, bound.eta, bound.share)
        )
        facts = {**self._facts(clusters), "score error of means": eta, "weight of means": share}
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
        clusters, xp = self._cluster(problem), problem.xp
        blocks = gather(dout, _flat(clusters.queries))
        blocks = xp.reshape(blocks, (*clusters.reduced.problem.q.shape[:-1], problem.dv))
        real = _arrays.from_host(_real(clusters.queries)[..., None], dout)
        dq, dkeys, dvalues = attend_gradient(
            clusters.reduced, xp.where(real, blocks, xp.zeros_like(blocks))
        )
        certificate = no_gradient_bounds(problem).certificate(
            facts=self._facts(clusters),
            unmet=("no bound has been derived for the gradient through heavy keys and means",),
        )
        dk, dv = (clusters.keys.adjoint(y) for y in (dkeys, dvalues))
        return Gradients(dq=_in_order(dq, clusters.queries), dk=dk, dv=dv, certificate=certificate)

    def _cluster(self, problem: Problem) -> _Clusters:
        """Return queries and keys in blocks, and what each block of queries meets.

        Raises
        ------
        MemoryError, ValueError
            Where the keys that all blocks meet cannot fit into this machine, or would take minutes.
        """
        xp, seen = problem.xp, visible(problem)
        heavy, means = min(self.heavy, problem.n_k), min(self.key_blocks, 2 * problem.n_k)
        blocks = math.prod(problem.batch) * min(self.query_blocks, 2 * problem.n_q)
        width, belong = problem.d + problem.dv, heavy * means  # which heavy key is of which block
        numbers = blocks * ((heavy + means) * width + problem.n_k + 1.25 * belong)
        check_memory("query_blocks", self.query_blocks, numbers, "keys of all blocks of queries")
        seconds = blocks * belong * (2 * SCORE + width * PRODUCT)
        seconds += blocks * (heavy + means) * width * SCORE
        check_setting(problem, "query_blocks", self.query_blocks, seconds, "all their heavy keys")
        queries = sketching.similar_pool(
            _arrays.to_host(problem.q), np.ones(problem.n_q, bool), self.query_blocks
        )
        pool = sketching.similar_pool(_arrays.to_host(problem.k), seen, self.key_blocks)
        keys = self._heavy(problem, queries, pool, seen)
        means = pool.apply(problem.k)
        q = gather(problem.q, _flat(queries))
        q = xp.reshape(q, (*queries.members.shape, problem.d))
        real, left = keys.stands_for_keys(), keys.left
        logs = np.concatenate(
            [np.zeros(keys.heavy.shape), np.log(np.maximum(left, 1))], axis=-1
        ).astype(problem.dtype)
        part = replace(
            problem,
            q=q,
            k=keys.apply(problem.k, means),
            v=keys.apply(problem.v, pool.apply(problem.v)),
            key_mask=_arrays.from_host(real, problem.q),
        )
        reduced = Reduced(problem=part, bias=_arrays.from_host(logs[..., None, :], problem.q))
        return _Clusters(reduced, queries, keys, means)

    def _heavy(
        self, problem: Problem, queries: MeanPool, pool: MeanPool, seen: HostArray
    ) -> HeavyAndMeans:
        """Return the keys with the largest scores for the mean query of each block."""
        count, means = min(self.heavy, problem.n_k), queries.apply(problem.q) * problem.scale
        blocks = means.shape[-2]
        if not count:
            none = np.zeros((*problem.batch, blocks, 0))
            return HeavyAndMeans(pool=pool, heavy=none.astype(int), real=none.astype(bool))
        # some blocks of queries at a time: all would meet all keys in C n scores
        step = rows_at_once(problem, problem.n_k)
        heavy = np.concatenate(
            [
                heaviest(_scores(problem, means[..., first : min(first + step, blocks), :]), count)
                for first in range(0, blocks, step)
            ],
            axis=-2,
        )
        everyone = np.broadcast_to(seen, (*problem.batch, problem.n_k))[..., None, :]
        everyone = np.broadcast_to(everyone, (*heavy.shape[:-1], problem.n_k))
        return HeavyAndMeans(
            pool=pool, heavy=heavy, real=np.take_along_axis(everyone, heavy, axis=-1)
        )

    def _facts(self, clusters: _Clusters) -> dict[str, object]:
        keys = clusters.keys
        return {
            "heavy": keys.heavy.shape[-1],
            "key blocks": keys.left.shape[-1],
            "query blocks": keys.left.shape[-2],
        }


def _scores(problem: Problem, queries: Array) -> Array:
    """Return the scores of some queries with all keys, -inf for hidden ones."""
    xp = problem.xp
    scores = xp.matmul(queries, xp.matrix_transpose(problem.k))
    if problem.key_mask is None:
        return scores
    return xp.where(problem.key_mask[..., None, :], scores, xp.full_like(scores, -xp.inf))


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
