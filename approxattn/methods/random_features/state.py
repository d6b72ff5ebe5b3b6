"""Keys and values folded into sums over random features, to be queried, extended and merged.

Symbols as in `sums`: h_jr and g_ir are the logarithms of the features of key j and query i, c_r is
the largest h_jr and T_r = sum_j e^{h_jr - c_r} [v_j, 1]; c and T are the state of these keys.

1. Rows need c and T only, m (dv + 2) numbers whatever the number of keys.
2. States of the same features merge: c is the larger one, and each T is multiplied by e^{its c -
   c} <= 1. That is one more rescaling of every term, which `steps` counts.
3. A token of a decoder sees the state and itself: `sums.advance` begins with the state.
4. The bound needs the largest length of a key, the range of the values and the number of keys,
   which merge by maxima and sums.
5. It is Chebyshev's inequality over the draws of the features, for queries, keys and values that do
   not depend on them. The tokens that a decoder makes of outputs do depend on them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.values import value_reach
from approxattn.certificate import Approximation
from approxattn.methods.random_features.certificate import feature_certificate, refuse_exponents
from approxattn.methods.random_features.features import longest, on_device
from approxattn.methods.random_features.state_file import FILE
from approxattn.methods.random_features.sums import (
    Keys,
    Seen,
    State,
    advance,
    fold,
    joined,
    read,
    step_count,
)
from approxattn.methods.states.folded import SavedKeys, Widths, empty_output, nan_without_keys
from approxattn.methods.states.posing import SeenKeys, seen_keys


@dataclass(frozen=True, kw_only=True, eq=False)
class PerformerState(SavedKeys):
    """What a Performer remembers of the keys and values it has seen; made by `Performer.state`.

    Attributes
    ----------
    features : int
        Number of features, m.
    kind : str
        Of the features.
    confidence : float
        Probability with which the bounds of a query hold, over the draws of the features, if
        queries, keys and values do not depend on these.
    scale : float
        Factor beta of the scores.
    directions : ndarray, shape (m, d)
        The draws.
    top : array, shape (..., 1, m)
        Largest logarithm of each feature of the keys; -inf where there is no key yet.
    sums : array, shape (..., m, dv + 1)
        sum_j e^{h_jr - top_r} [v_j, 1].
    seen : SeenKeys
        Number and lengths of the keys, range of the values.
    steps : int
        How often a term was rescaled at most.
    """

    features: int
    kind: str
    confidence: float
    scale: float
    directions: HostArray
    top: Array
    sums: Array
    seen: SeenKeys
    steps: int

    MADE_BY: ClassVar[str] = "Performer.state"
    FILE = FILE
    ON_DEVICE: ClassVar[tuple[str, ...]] = ("top", "sums")

    @property
    def _widths(self) -> Widths:
        return Widths(self.directions.shape[-1], self.sums.shape[-1] - 1, self.scale)

    def _like(self, q: Array) -> Array:
        del q
        return self.sums

    def _with_keys(self, problem: Problem) -> Self:
        own: Any = made(self, problem, self.directions)
        return self.merge(own)

    def _merged(self, other: Self) -> Self:
        if not np.array_equal(self.directions, other.directions):
            msg = "other has other random features: make both states with equal generators"
            raise ValueError(msg)
        xp = _arrays.namespace(state=self.sums, other=other.sums)
        both = joined(State(self.top, self.sums), State(other.top, other.sums), xp)
        return replace(
            self,
            top=both.top,
            sums=both.sums,
            seen=self.seen.merged(other.seen),
            steps=max(self.steps, other.steps) + 1,
        )

    def _answered(self, problem: Problem) -> Approximation:
        dv = self._widths.dv
        if math.prod((*problem.batch, problem.n_q, dv)) == 0:
            return empty_output(problem, dv)
        refuse_exponents(problem, self.seen.radius, longest(self.directions))
        state = State(self.top, self.sums)
        seen = read(problem, on_device(self.directions, problem), state)
        return self._certified(problem, seen, self.steps)

    def _attended(self, problem: Problem) -> tuple[Approximation, Self]:
        if math.prod((*problem.batch, problem.n_q, problem.dv)) == 0:
            return self._answered(problem), self._with_keys(problem)
        seen = self.seen.merged(seen_keys(problem))
        refuse_exponents(problem, seen.radius, longest(self.directions))
        begun = State(self.top, self.sums)
        found, state = advance(problem, on_device(self.directions, problem), begun)
        steps = self.steps + step_count(problem, self.features)
        after = replace(self, top=state.top, sums=state.sums, seen=seen, steps=steps)
        return after._certified(problem, found, steps), after

    def _certified(self, problem: Problem, seen: Seen, steps: int) -> Approximation:
        """Return what queries saw, with its certificate."""
        none = self.seen.keys == 0
        known = Keys(self.seen.radius, *self.seen.ends, self.seen.most, steps)
        reach = value_reach(seen.mean, known.high, known.low, problem)
        certificate = feature_certificate(self, problem, known, reach, longest(self.directions))
        facts = {**certificate.facts, "keys": self.seen.keys, "holds for": INDEPENDENT}
        value, reasons = nan_without_keys(seen.mean, none)
        certificate = replace(
            certificate,
            facts=facts,
            rows=np.where(none[..., None], np.inf, certificate.rows),
            unmet=(*certificate.unmet, *reasons),
        )
        return Approximation(value=value, certificate=certificate)

    def _terms(self) -> dict[str, object]:
        return {
            "features": (self.features, self.kind),
            "confidence": self.confidence,
            "scale": self.scale,
            "shape": tuple(self.sums.shape),
            "dtype": _arrays.dtype_name(self.sums),
        }


INDEPENDENT = "queries, keys and values that do not depend on the draws"


def made(settings: Any, problem: Problem, w: HostArray) -> PerformerState:
    """Return the state of the keys of a problem, for the features of these directions."""
    refuse_exponents(problem, seen_keys(problem).radius, longest(w))
    state = fold(problem, on_device(w, problem))
    return PerformerState(
        features=settings.features,
        kind=settings.kind,
        confidence=settings.confidence,
        scale=problem.scale,
        directions=w,
        top=state.top,
        sums=state.sums,
        seen=seen_keys(problem),
        steps=step_count(problem, len(w)),
    )
