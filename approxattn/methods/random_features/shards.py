"""Positive random features over blocks of tokens.

The directions follow from the seed as they do from `numpy.random.default_rng(seed)` in a call in
memory: the same features, whatever the blocks. Of the probability of failure each row has the same
share, so that of a piece is its share of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_memory
from approxattn._arrays import Array, HostArray
from approxattn._problem import pose
from approxattn.bounds.elsewhere import Elsewhere, Extent, beside, extent_of, keys_alone
from approxattn.bounds.values import value_reach
from approxattn.certificate import Approximation
from approxattn.methods.random_features.certificate import feature_certificate, refuse_exponents
from approxattn.methods.random_features.features import directions, longest, on_device
from approxattn.methods.random_features.sums import (
    Keys,
    State,
    advance,
    fold,
    joined,
    read,
    step_count,
)
from approxattn.methods.sharded import Answer, Answers, Call, Known, Pass, Scan


class FeatureState(NamedTuple):
    """The sums over some keys, their extent, and the longest chain of steps behind them."""

    sums: State
    extent: Extent
    steps: int

    def merge(self, other: FeatureState) -> FeatureState:
        """Return that of both."""
        longest, xp = max(self.steps, other.steps) + 1, _arrays.namespace(sums=self.sums.sums)
        sums = joined(self.sums, other.sums, xp)
        return FeatureState(sums, self.extent.merge(other.extent), longest)


@dataclass(frozen=True, kw_only=True)
class PerformerShards:
    """One call of `Performer`."""

    method: Any
    call: Call

    def __post_init__(self) -> None:
        size = self.method.features * (3 * self.call.d + self.call.dv + 1)
        check_memory("features", self.method.features, size, "directions and sums")

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The sums over keys."""
        state = Pass(name="state", takes=("k", "v"), fold=self.fold, long=True)
        return () if self.call.causal else (state,)

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The output."""
        return (Answer(name="out", takes=("q",), give=self.query),)

    @property
    def scan(self) -> Scan | None:
        """The causal output."""
        return Scan(fold=self.fold, advance=self.advance) if self.call.causal else None

    def fold(self, known: Known, first: int, k: Array, v: Array) -> FeatureState:
        """Return the state of keys and values."""
        del known, first
        problem, w = keys_alone(k, v, self.call.scale), self._directions()
        extent = extent_of(problem)
        refuse_exponents(problem, extent.radius, longest(w))
        return FeatureState(
            fold(problem, on_device(w, problem)), extent, step_count(problem, len(w))
        )

    def query(self, known: Known, first: int, q: Array) -> Answers:
        """Return the output of queries."""
        del first
        state: FeatureState = known["state"]
        problem, w = beside(q, state.extent, self.call.scale), self._directions()
        refuse_exponents(problem, state.extent.radius, longest(w))
        value = read(problem, on_device(w, problem), state.sums).mean
        return {"value": self._certified(value, problem, w, state)}

    def advance(
        self,
        known: Known,
        before: FeatureState | None,
        first: int,
        q: Array,
        k: Array,
        v: Array,
    ) -> tuple[Answers, FeatureState]:
        """Return causal attention of the next tokens, and the state after them."""
        del known, first
        problem, w = pose(q, k, v, scale=self.call.scale, causal=True), self._directions()
        extent, count, sums = extent_of(problem), step_count(problem, len(w)), None
        if before is not None:
            sums, extent, count = before.sums, before.extent.merge(extent), before.steps + count
        whole = replace(beside(q, extent, self.call.scale), causal=True)
        refuse_exponents(whole, extent.radius, longest(w))
        seen, found = advance(problem, on_device(w, problem), sums)
        after = FeatureState(found, extent, count)
        return {"value": self._certified(seen.mean, whole, w, after)}, after

    def _directions(self) -> HostArray:
        m, rng = self.method, np.random.default_rng(self.call.seed)
        return directions(self.call.d, m.features, m.kind, m.orthogonal, rng)

    def _certified(
        self, value: Array, problem: Elsewhere, w: HostArray, state: FeatureState
    ) -> Approximation:
        extent, share = state.extent, problem.n_q / self.call.queries
        keys = Keys(extent.radius, extent.high, extent.low, extent.keys, state.steps)
        reach = value_reach(value, keys.high, keys.low, problem)
        certificate = feature_certificate(self.method, problem, keys, reach, longest(w), share)
        return Approximation(value=value, certificate=certificate)
