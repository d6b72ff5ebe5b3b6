"""Keys and values folded into means of blocks, to be queried, extended and merged.

A query attends to the means of the blocks (`means`), each weighted by its size. In `attend` the
new tokens stand beside them as they are: a query sees the blocks of earlier keys, and the new keys
up to its own, in chunks of as many tokens as there are blocks. Only then are they pooled.

Bound, in the letters of `pooling_bounds` (proved there).

1. Attention to the blocks is attention with k_j replaced by the mean of its block, so scores are
   off by at most eta_i = beta |q_i| max r_b; new keys are not replaced.
2. Means are kept in float64, and rounded to the dtype computed in when they are read: r_b grows by
   2 u |k_b|, a mean of values is off by 2 u max|V|.
3. A key that joins a block, and a block that joins another, take a share, a product and a sum:
   four roundings with the counts. So means of values are off by at most gamma_{4 n + 32}(2^-53)
   max|V|, for all n keys seen.

Blocks are other ones than those of one call, which knows the number of keys beforehand. They lie on
the host, in NumPy, whatever library queries come from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.perturbation import output_bound, tv_from_score_error
from approxattn.bounds.rounding import U64, gamma, up
from approxattn.bounds.scores import query_norms, row_norms, score_bound, spread_of
from approxattn.bounds.softmax import softmax_rounding
from approxattn.certificate import SOFTMAX, Approximation, Certificate
from approxattn.methods.low_rank.folding.file import FILE
from approxattn.methods.low_rank.folding.means import Blocks, no_blocks
from approxattn.methods.states.folded import SavedKeys, Widths, nan_without_keys, zeros_like
from approxattn.methods.states.posing import SeenKeys, seen_keys
from approxattn.softmax.biased import Reduced, attend

SHORTEST = 64
"""Least number of tokens of a chunk of `attend`. *Chosen*: fewer cost more calls than products."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LinformerState(SavedKeys):
    """What mean pooling remembers of the keys and values it has seen; made by `Linformer.state`.

    Attributes
    ----------
    rank : int
        Number of blocks at most.
    scale : float
        Factor beta of the scores.
    dtype : str
        What queries are computed in.
    keys, values : ndarray, shapes (..., rank, d), (..., rank, dv)
        Means of the blocks, in float64; 0 for a block of nothing.
    counts : ndarray of int, shape (..., rank)
        Numbers of keys.
    radii : ndarray, shape (..., rank)
        Bounds on the distance of a key from the mean of its block.
    lengths : ndarray of int, shape (...)
        Number of keys that a block is filled up to.
    seen : SeenKeys
        Number and lengths of the keys, range of the values.
    """

    rank: int
    scale: float
    dtype: str
    keys: HostArray
    values: HostArray
    counts: HostArray
    radii: HostArray
    lengths: HostArray
    seen: SeenKeys

    MADE_BY: ClassVar[str] = "Linformer.state"
    FILE = FILE

    @property
    def _widths(self) -> Widths:
        return Widths(self.keys.shape[-1], self.values.shape[-1], self.scale)

    def _like(self, q: Array) -> Array:
        return zeros_like(q, self.counts.shape[:-1], self.dtype)

    def _with_keys(self, problem: Problem) -> Self:
        own: Any = none_of(problem, self.rank)
        self._refuse_other_terms(own)
        return self.followed_by(problem)

    def _merged(self, other: Self) -> Self:
        found = [
            self._blocks(index).then(other._blocks(index)).within(self.rank)
            for index in np.ndindex(*self.counts.shape[:-1])
        ]
        return self._of(found, self.seen.merged(other.seen))

    def _answered(self, problem: Problem) -> Approximation:
        none = problem.k[..., :0, :], self._here(self.values[..., :0, :], problem)
        return self._beside(problem, *none, self.seen)

    def _attended(self, problem: Problem) -> tuple[Approximation, Self]:
        """Chunk by chunk: new keys more than one chunk before a query are blocks to it."""
        state, found = self, list[Approximation]()
        for start in range(0, problem.n_q, max(self.rank, SHORTEST)):
            rows = slice(start, min(start + max(self.rank, SHORTEST), problem.n_q))
            parts = {x: getattr(problem, x)[..., rows, :] for x in ("q", "k", "v")}
            chunk = replace(problem, **parts, group=1)
            after = state.followed_by(chunk)
            found.append(state._beside(chunk, chunk.k, chunk.v, after.seen))
            state = after
        return _in_order(found, problem), state

    def followed_by(self, problem: Problem) -> Self:
        """Return the state that has seen the keys of a problem too."""
        k, v = (_arrays.to_host(x) for x in (problem.k, problem.v))
        mask = None if problem.key_mask is None else _arrays.to_host(problem.key_mask)
        found = []
        for index in np.ndindex(*problem.batch):
            shown = slice(None) if mask is None else mask[index]
            own = k[index][shown], v[index][shown]
            found.append(self._blocks(index).followed_by(*own, self.rank))
        return self._of(found, self.seen.merged(seen_keys(problem)))

    def _blocks(self, index: tuple[int, ...]) -> Blocks:
        some = self.counts[index] > 0
        return Blocks(
            keys=self.keys[index][some],
            values=self.values[index][some],
            counts=self.counts[index][some],
            radii=self.radii[index][some],
            length=int(self.lengths[index]),
        )

    def _of(self, blocks: list[Blocks], seen: SeenKeys) -> Self:
        """Return the state of the blocks of all items."""
        batch, arrays = self.counts.shape[:-1], dict[str, Any]()
        for name in ("keys", "values", "counts", "radii"):
            like = getattr(self, name)
            whole = np.zeros((len(blocks), *like.shape[len(batch) :]), like.dtype)
            for item, own in enumerate(blocks):
                whole[item, : len(own.counts)] = getattr(own, name)
            arrays[name] = whole.reshape(like.shape)
        lengths = np.array([own.length for own in blocks], int).reshape(batch)
        return replace(self, **arrays, lengths=lengths, seen=seen)

    def _here(self, x: HostArray, problem: Problem) -> Array:
        return _arrays.from_host(x.astype(problem.dtype), problem.q)

    def _beside(self, problem: Problem, k: Array, v: Array, seen: SeenKeys) -> Approximation:
        """Return attention of queries to the blocks and to keys beside them, which they see in
        causal order; `seen` is what all of them saw.
        """
        xp, beside = problem.xp, int(k.shape[-2])
        bias = np.log(np.maximum(self.counts, 1))
        bias = np.concatenate([bias, np.zeros((*bias.shape[:-1], beside))], axis=-1)
        there = np.concatenate([self.counts > 0, np.ones((*bias.shape[:-1], beside), bool)], -1)
        nothing = np.asarray(~there.any(axis=-1))
        there[nothing, 0] = True  # so that no row is empty; it becomes NaN below
        mixed = replace(
            problem,
            k=xp.concat([self._here(self.keys, problem), k], axis=-2),
            v=xp.concat([self._here(self.values, problem), v], axis=-2),
            key_mask=_arrays.from_host(there, problem.q),
            causal=beside > 0,
            group=1,
        )
        own = _arrays.from_host(bias[..., None, :].astype(problem.dtype), problem.q)
        value, unmet = nan_without_keys(attend(Reduced(problem=mixed, bias=own)), nothing)
        certificate = self._certificate(mixed, seen, nothing, unmet)
        return Approximation(value=value, certificate=certificate)

    def _certificate(
        self, mixed: Problem, seen: SeenKeys, nothing: HostArray, unmet: tuple[str, ...]
    ) -> Certificate:
        u, tiny = mixed.u, _arrays.smallest_normal(mixed.dtype)
        spread = spread_of(*seen.ends)
        of_means = 2 * u * row_norms(self.keys, np) + self.keys.shape[-1] * tiny
        radius = np.max(np.where(self.counts > 0, up(self.radii + of_means), 0.0), axis=-1)
        eta = up(mixed.scale * query_norms(mixed) * radius[..., None] * (1 + 4 * u) + tiny)
        log_top = math.log(max(1, int(np.max(self.counts, initial=1))))
        tv = tv_from_score_error(eta + 4 * u * log_top)
        of_means = up((gamma(4 * seen.most + 32, U64) + 2 * u) * spread.top + 2 * tiny)
        rounding = softmax_rounding(mixed, score_bound(mixed) + log_top, mixed.n_k)
        rounding = up(rounding + of_means[..., None])
        rows = up(output_bound(tv, spread.osc) + rounding)
        return Certificate(
            rows=np.where(nothing[..., None], np.inf, rows),
            target=SOFTMAX,
            theorem="ours.mean-pool",
            facts={
                "sketch": "mean-pool",
                "rank": self.rank,
                "keys": seen.keys,
                "score error of pooling": eta,
                "total variation": tv,
                "rounding": rounding,
            },
            unmet=unmet,
        )

    def _terms(self) -> dict[str, object]:
        return {
            "rank": self.rank,
            "scale": self.scale,
            "dtype": self.dtype,
            "shape": (self.keys.shape, self.values.shape),
        }


def _in_order(found: list[Approximation], whole: Problem) -> Approximation:
    """Return the results of chunks as one."""
    if not found:
        nothing = Certificate(
            rows=np.zeros((*whole.batch, 0)), target=SOFTMAX, theorem="ours.mean-pool"
        )
        return Approximation(value=whole.v, certificate=nothing)
    if len(found) == 1:
        return found[0]
    *_, last = certificates = [out.certificate for out in found]
    of_rows = ("score error of pooling", "total variation", "rounding")
    facts = {x: np.concatenate([c.facts[x] for c in certificates], axis=-1) for x in of_rows}
    certificate = replace(
        last,
        rows=np.concatenate([c.rows for c in certificates], axis=-1),
        facts={**last.facts, **facts},
    )
    value = whole.xp.concat([out.value for out in found], axis=-2)
    return Approximation(value=value, certificate=certificate)


def none_of(problem: Problem, rank: int) -> LinformerState:
    """Return the state of no keys, for a problem of that shape."""
    batch, none = problem.batch, no_blocks(problem.d, problem.dv)
    shape = (*batch, rank)
    return LinformerState(
        rank=rank,
        scale=problem.scale,
        dtype=problem.dtype,
        keys=np.zeros((*shape, problem.d)),
        values=np.zeros((*shape, problem.dv)),
        counts=np.zeros(shape, int),
        radii=np.zeros(shape),
        lengths=np.full(batch, none.length),
        seen=SeenKeys(
            keys=np.zeros(batch, int),
            radius=np.zeros(batch),
            high=np.full((*batch, problem.dv), -np.inf),
            low=np.full((*batch, problem.dv), np.inf),
        ),
    )
