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
from pathlib import Path
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._arrays.entry import public
from approxattn._problem import Problem, quietly
from approxattn.certificate import SOFTMAX, Approximation, Certificate
from approxattn.methods.random_features.certificate import feature_certificate, refuse_exponents
from approxattn.methods.random_features.features import on_device
from approxattn.methods.random_features.state_file import read_state, write_state
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
from approxattn.methods.states.posing import (
    SeenKeys,
    pose_keys,
    pose_next,
    pose_queries,
    refuse_another_kind,
    refuse_other_terms,
    seen_keys,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class PerformerState:
    """What a Performer remembers of the keys and values it has seen; made by `Performer.state`.

    Attributes
    ----------
    features : int
        m.
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

    @public()
    @quietly
    def extend(self, k: Array, v: Array, *, key_mask: Array | None = None) -> PerformerState:
        """Return the state that has seen these keys and values too.

        Parameters
        ----------
        k, v : array, shapes (..., n, d), (..., n, dv)
            Keys and values.
        key_mask : array of bool, shape (..., n), optional
            True where a key takes part.
        """
        return self.merge(made(self, pose_keys(k, v, self.scale, key_mask), self.directions))

    @public()
    @quietly
    def merge(self, other: PerformerState) -> PerformerState:
        """Return the state that has seen what either has.

        Raises
        ------
        TypeError
            If `other` is no such state.
        ValueError
            If they differ in features, scale, shape or dtype.
        """
        refuse_another_kind(self, other, "Performer.state")
        refuse_other_terms(self._terms(), other._terms())
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

    @public()
    @quietly
    def query(self, q: Array) -> Approximation:
        """Return the attention of the queries over all keys seen, and its certificate.

        The output has the dtype computed in (float32 for half precisions). Rows of an item that has
        seen no key are NaN, and the certificate says so.

        Parameters
        ----------
        q : array, shape (..., n_q, d)
            Same library, device, dtype and leading axes as the keys.

        Raises
        ------
        TypeError, ValueError
            What `attention` refuses.
        """
        problem = pose_queries(q, self.sums, self.directions.shape[-1], self.scale)
        shape = (*problem.batch, problem.n_q, self.sums.shape[-1] - 1)
        if math.prod(shape) == 0:
            nothing = Certificate(rows=np.zeros(shape[:-1]), target=SOFTMAX, theorem="ours.tanh")
            zeros = problem.xp.zeros(shape, dtype=self.sums.dtype, device=_arrays.device(self.sums))
            return Approximation(value=zeros, certificate=nothing)
        refuse_exponents(problem, self.seen.radius, self.directions)
        state = State(self.top, self.sums)
        seen = read(problem, on_device(self.directions, problem), state)
        return self._certified(problem, seen, self.steps)

    @public()
    @quietly
    def attend(self, q: Array, k: Array, v: Array) -> tuple[Approximation, PerformerState]:
        """Return causal attention of the next tokens, and the state that has seen them too.

        Query i sees all keys of this state and keys 0..i of the new ones.

        Parameters
        ----------
        q, k, v : array, shapes (..., n, d), (..., n, d), (..., n, dv)
            The next tokens, as many queries as keys; same library, device, dtype and leading axes
            as the state.

        Returns
        -------
        Approximation
            Output in the dtype computed in, shape (..., n, dv), and its certificate.
        PerformerState
            Of all keys up to the last new one. This state stays as it is.

        Raises
        ------
        TypeError, ValueError
            What `attention` refuses; numbers of queries and keys that differ.
        """
        dv, d = self.sums.shape[-1] - 1, self.directions.shape[-1]
        problem = pose_next(q, k, v, self.sums, dv, d, self.scale)
        if math.prod((*problem.batch, problem.n_q, dv)) == 0:
            return self.query(q), self.extend(k, v)
        seen = self.seen.merged(seen_keys(problem))
        refuse_exponents(problem, seen.radius, self.directions)
        begun = State(self.top, self.sums)
        found, state = advance(problem, on_device(self.directions, problem), begun)
        steps = self.steps + step_count(problem, self.features)
        after = replace(self, top=state.top, sums=state.sums, seen=seen, steps=steps)
        return after._certified(problem, found, steps), after

    def save(self, path: str | Path) -> None:
        """Write the state to an .npz file of plain arrays, whole or not at all."""
        write_state(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, *, like: Array | None = None) -> PerformerState:
        """Read a state that `save` wrote, into the library and onto the device of `like` (NumPy if
        None).

        Raises
        ------
        ValueError
            If the file is none of ours, is damaged, or holds numbers that no state has.
        OSError
            If it cannot be read.
        """
        fields = read_state(Path(path))
        if like is not None:
            fields |= {name: _arrays.from_host(fields[name], like) for name in ("top", "sums")}
        return cls(**fields)

    def _certified(self, problem: Problem, seen: Seen, steps: int) -> Approximation:
        """Return what queries saw, with its certificate."""
        xp, some = problem.xp, self.seen.keys > 0
        known = Keys(self.seen.radius, *self.seen.ends, self.seen.most, steps)
        certificate = feature_certificate(self, problem, known, seen.mean, self.directions)
        facts = {**certificate.facts, "keys": self.seen.keys, "holds for": INDEPENDENT}
        certificate = replace(certificate, facts=facts)
        if np.all(some):
            return Approximation(value=seen.mean, certificate=certificate)
        reason = f"{int(np.sum(~some))} item(s) have seen no key and their rows are NaN"
        shown = _arrays.from_host(np.array(some[..., None, None]), seen.mean)
        return Approximation(
            value=xp.where(shown, seen.mean, xp.full_like(seen.mean, xp.nan)),
            certificate=replace(
                certificate,
                rows=np.where(some[..., None], certificate.rows, np.inf),
                unmet=(*certificate.unmet, reason),
            ),
        )

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
    refuse_exponents(problem, seen_keys(problem).radius, w)
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
