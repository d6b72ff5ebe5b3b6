"""Linformer over blocks of tokens: combinations are added up, then each query attends to them.

Where a bound asks how far keys are from the means of their blocks, or from the mean of all, a
second pass over the keys tells, once these are known. Means come from sums in float64 and are
rounded once: they are off by gamma'_n of that dtype and u, times the largest value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_memory
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.elsewhere import (
    Elsewhere,
    Extent,
    beside,
    extent_of,
    keys_alone,
    queries_alone,
)
from approxattn.bounds.rounding import U64, gamma, up
from approxattn.bounds.scores import query_norms, row_norms, value_spread
from approxattn.bounds.values import range_bound
from approxattn.certificate import SOFTMAX, Approximation, Certificate
from approxattn.methods.low_rank.blocks.combining import Combining, Drawn, Pooled, Sampled
from approxattn.methods.low_rank.combinations import check_overflow
from approxattn.methods.low_rank.kinds import Facts, no_bound
from approxattn.methods.low_rank.pooling_bounds import bound_of_means
from approxattn.methods.low_rank.row_sample_bound import bound_about_mean, certificate_of_sample
from approxattn.methods.low_rank.sketches import NO_THEOREM, REFUTED
from approxattn.methods.sharded import Answer, Answers, Call, Known, Pass
from approxattn.softmax.biased import Reduced, attend


class Sums(NamedTuple):
    """What blocks add to the combinations of [k, v], shape (..., rank, d + dv), to the sum of the
    keys, shape (..., 1, d), and to the extent of both.
    """

    how: Combining
    combined: HostArray
    keys: HostArray
    extent: Extent

    def merge(self, other: Sums) -> Sums:
        """Return what both add."""
        combined = self.how.merge(self.combined, other.combined)
        extent = self.extent.merge(other.extent)
        return Sums(self.how, combined, self.keys + other.keys, extent)


class Combinations(NamedTuple):
    """Combined keys and values, shapes (..., rank, d), (..., rank, dv), the logarithms of how many
    tokens each stands for, shape (..., 1, rank) or None, and the mean of the keys.
    """

    keys: HostArray
    values: HostArray
    bias: HostArray | None
    mean: HostArray
    extent: Extent


class Farthest(NamedTuple):
    """Largest distance of a key from the mean that stands for it, shape (...)."""

    length: HostArray

    def merge(self, other: Farthest) -> Farthest:
        """Return the larger one."""
        return Farthest(np.asarray(np.maximum(self.length, other.length)))


@dataclass(frozen=True, kw_only=True)
class LinformerShards:
    """One call of `Linformer`."""

    method: Any
    call: Call

    def __post_init__(self) -> None:
        for name in ("key_projection", "kernel"):
            if getattr(self.method, name) is not None:
                msg = (
                    f"{name} of Linformer in blocks of tokens: it makes combinations as many as, "
                    "or from a matrix as long as, the keys; use sketch=... and rank=..."
                )
                raise ValueError(msg)
        numbers = self._how.rank * (self.call.d + self.call.dv)
        check_memory("rank", self.method.rank, numbers, "combined keys and values")

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The combinations, and for some kinds how far keys are from them."""
        state = Pass(name="state", takes=("k", "v"), fold=self.fold, settle=self.settle, long=True)
        if self.method.sketch not in ("mean-pool", "row-sample"):
            return (state,)
        return state, Pass(name="farthest", takes=("k",), fold=self.measure)

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The output."""
        return (Answer(name="out", takes=("q",), give=self.query),)

    scan = None

    @property
    def _how(self) -> Combining:
        m, n, seed = self.method, self.call.keys, self.call.seed or 0
        if m.sketch in ("mean-pool", "max-pool"):
            return Pooled(rank=m.rank, n=n, largest=m.sketch == "max-pool")
        if m.sketch == "row-sample":
            return Sampled(rank=m.rank, n=n, seed=seed)
        return Drawn(kind=m.sketch, rank=m.rank, n=n, seed=seed)

    def fold(self, known: Known, first: int, k: Array, v: Array) -> Sums:
        """Return what keys and values add."""
        del known
        problem = keys_alone(k, v, self.call.scale)
        keys, values = (_arrays.to_host(x) for x in (problem.k, problem.v))
        tokens = np.concatenate([keys, values], axis=-1)
        total = np.asarray(np.sum(_arrays.to_float64(keys), axis=-2, keepdims=True))
        return Sums(self._how, self._how.add(first, tokens), total, extent_of(problem))

    def settle(self, known: Known, sums: Sums) -> Combinations:
        """Return the combinations."""
        del known
        d, dtype, combined, bias = self.call.d, self.call.dtype, sums.combined, None
        factors = (1.0, 1.0)
        if isinstance(sums.how, Pooled) and not sums.how.largest:
            counts = sums.how.counts
            combined = combined / counts[:, None]
            bias = np.log(counts).astype(dtype)[None, :]
        elif self.method.delta is not None:
            factors = (self.method.delta, math.exp(-self.method.delta))
        keys, values = (
            (x * factor).astype(dtype)
            for x, factor in ((combined[..., :d], factors[0]), (combined[..., d:], factors[1]))
        )
        mean = (sums.keys / self.call.keys).astype(dtype)
        return Combinations(keys, values, bias, mean, sums.extent)

    def measure(self, known: Known, first: int, k: Array) -> Farthest:
        """Return how far keys are from what stands for them."""
        problem, found = keys_alone(k, k[..., :1]), known["state"]
        middle = found.mean
        if isinstance(self._how, Pooled):
            middle = found.keys[..., self._how.block_of(first, first + problem.n_k), :]
        apart = row_norms(problem.k - _arrays.from_host(middle, problem.k), problem.xp)
        u, tiny = problem.u, _arrays.smallest_normal(problem.dtype)
        return Farthest(up(np.max(apart, axis=-1) * (1 + 4 * u) + problem.d * tiny))

    def query(self, known: Known, first: int, q: Array) -> Answers:
        """Return the output of queries."""
        del first
        found: Combinations = known["state"]
        problem = beside(q, found.extent, self.call.scale)
        plain = queries_alone(q, self.call.scale)
        keys, values = (_arrays.from_host(x, plain.q) for x in (found.keys, found.values))
        check_overflow(plain, keys, values)
        reduced = replace(plain, k=keys, v=values)
        bias = None if found.bias is None else _arrays.from_host(found.bias, plain.q)
        value = attend(Reduced(problem=reduced, bias=bias))
        certificate = self._certificate(problem, reduced, value, known)
        return {"value": Approximation(value=value, certificate=certificate)}

    def _certificate(
        self, problem: Elsewhere, reduced: Problem, value: Array, known: Known
    ) -> Certificate:
        facts: Facts = {"sketch": self.method.sketch, "rank": reduced.n_k}
        if self.method.delta is not None:
            facts["delta"] = self.method.delta
        if self.method.sketch == "mean-pool":
            return self._of_means(problem, reduced, known["farthest"], facts)
        if self.method.sketch == "row-sample":
            about = up(problem.scale * query_norms(problem) * known["farthest"].length[..., None])
            # the mean is one of float64, rounded once
            off = gamma(self.call.keys + 4, U64) + 2 * problem.u
            bound = bound_about_mean(problem, about, off)
            failure = (1 - self.method.confidence) * problem.n_q / self.call.queries
            return certificate_of_sample(problem, reduced, bound, failure, facts)
        if self.method.sketch == "max-pool":
            return Certificate(
                rows=range_bound(value, problem),
                target=SOFTMAX,
                theorem="ours.value-range",
                facts=facts,
                unmet=(NO_THEOREM,),
            )
        return no_bound(problem, facts, REFUTED)

    def _of_means(
        self, problem: Elsewhere, reduced: Problem, farthest: Farthest, facts: Facts
    ) -> Certificate:
        u, tiny = problem.u, _arrays.smallest_normal(problem.dtype)
        eta = up(problem.scale * query_norms(problem) * farthest.length[..., None])
        eta = up(eta * (1 + 4 * u) + problem.d * tiny)
        counts = Pooled(rank=self.method.rank, n=self.call.keys).counts
        relative = gamma(int(np.max(counts)) + 3, U64) + 2 * u
        of_means = up(relative * value_spread(problem).top + tiny)
        log_top = math.log(int(np.max(counts)))
        bound = bound_of_means(problem, reduced, eta, log_top, of_means)
        terms: Facts = {
            "score error of pooling": bound.eta,
            "total variation": bound.tv,
            "rounding": bound.rounding,
        }
        return Certificate(
            rows=bound.rows, target=SOFTMAX, theorem="ours.mean-pool", facts=facts | terms
        )
