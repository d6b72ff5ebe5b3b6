"""A forward pass over some queries whose keys are a state: what the bounds of gradients ask for.

It is a `Forward` of the same sums, with three differences.

1. Sums over keys are those of the state, always by features: their chain of additions is known from
   the state, that of sums over queries from the pass that measured these.
2. K_t counts every key as if it were the longest, since no length of a single key is kept.
3. Queries are beta q, keys k - c: nothing is shifted among them (`balance` of powers 0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem, pose
from approxattn.bounds.elsewhere import Elsewhere, Extent, elsewhere
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import query_norms
from approxattn.methods.polynomials.balance import Balance, scaled
from approxattn.methods.polynomials.centring import CentredScores, Reach
from approxattn.methods.polynomials.folding.fold import refuse_large_sums
from approxattn.methods.polynomials.forward import Forward, values_and_one
from approxattn.methods.polynomials.shift import shift_keys
from approxattn.methods.polynomials.state import PolynomialState
from approxattn.monomials.kernel import Kernel, cheapest_kind, feature_roundings, sum_roundings
from approxattn.monomials.states import read_states_with_parts


@dataclass(frozen=True, kw_only=True)
class StateScores(CentredScores):
    """Scores of queries with the keys of a state."""

    def _key_powers(self, degree: int) -> list[HostArray]:
        """Return the number of keys for each K_t."""
        return [self.total if self.causal else self.total[..., :1]] * (degree + 1)


@dataclass(frozen=True, kw_only=True)
class StateForward(Forward):
    """A forward pass over the keys of a state.

    Attributes
    ----------
    over_keys, over_queries : int
        Longest chains of additions of sums over keys and over queries.
    """

    over_keys: int
    over_queries: int

    @property
    def roundings(self) -> int:
        """K, of sums over keys."""
        degree = self.polynomial.degree
        return self._path(self.over_keys, degree) + 4 * degree + 2

    def kind_of(self, coefficients: tuple[float, ...]) -> str:
        """Return that all sums go by features."""
        del coefficients
        return "features"

    def longest_path(self, coefficients: tuple[float, ...]) -> int:
        """Return the part of K that belongs to sums with them, over keys or over queries."""
        return self._path(max(self.over_keys, self.over_queries), len(coefficients) - 1)

    def _path(self, additions: int, degree: int) -> int:
        """Return the roundings of sums through a state and, of a causal pass, inside a piece,
        which one addition joins.
        """
        through_state = feature_roundings(self.problem.d, degree) + additions + 2
        if not self.problem.causal:
            return through_state
        inside = (
            sum_roundings(kind, self.problem.n_q, self.problem.d, degree, True)
            for kind in ("features", "scores")
        )
        return max(through_state, *inside) + 1


def run_over(state: PolynomialState, problem: Problem, over_queries: int) -> StateForward:
    """Return the pass over queries that were posed beside any keys."""
    extent = Extent(int(np.max(state.keys)), state.radius, state.high, state.low)
    seen, xp, p = elsewhere(problem, extent), problem.xp, state.polynomial
    x = scaled(problem.q, state.scale, xp)
    largest = float(xp.max(_arrays.largest_size(x, xp))), state.reach
    refuse_large_sums(p, problem, largest, state.keys, (state.high, state.low))
    degrees = p.moments.degrees if p.moments is not None else ()
    sums, parts = read_states_with_parts(x, state.sums, p.degree, xp, degrees)
    last = sums[..., -1:]
    return StateForward(
        problem=seen,
        polynomial=p,
        scores=_scores(state, seen),
        kernel=Kernel(coefficients=p.coefficients, causal=False, kind="features", xp=xp),
        balance=_balance(state.scale, problem),
        queries=x,
        keys=seen.k,
        largest=largest,
        values=seen.v,
        numerator=sums[..., :-1],
        denominator=xp.where(last > 0, last, xp.full_like(last, xp.nan)),
        states=None,
        parts=parts if degrees else None,
        over_keys=state.additions,
        over_queries=over_queries,
    )


def causal_run(
    before: PolynomialState | None,
    own: PolynomialState,
    tokens: tuple[Array, Array, Array],
    over_queries: int,
) -> StateForward:
    """Return the pass of a piece of tokens q, k, v over all keys up to each: `own` is the state of
    the piece, `before` that of all earlier tokens. Keys and values of the result are the piece's.
    """
    problem = pose(*tokens, scale=own.scale, causal=True)
    after, xp = own if before is None else before.merge(own), problem.xp
    extent = Extent(int(np.max(after.keys)), after.radius, after.high, after.low)
    seen, p = elsewhere(problem, extent), after.polynomial
    x, y = scaled(problem.q, after.scale, xp), shift_keys(problem, after.centre, problem.dtype)
    largest = float(xp.max(_arrays.largest_size(x, xp))), after.reach
    refuse_large_sums(p, problem, largest, after.keys, (after.high, after.low))
    degrees = p.moments.degrees if p.moments is not None else ()
    kind = cheapest_kind(problem.n_q, problem.n_k, problem.d, p.degree, problem.dv + 1)
    kernel = Kernel(coefficients=p.coefficients, causal=True, kind=kind, xp=xp)
    right = values_and_one(problem)
    sums, parts, _ = kernel.sums_with_parts(x, y, right, degrees)
    if before is not None:
        earlier = read_states_with_parts(x, before.sums, p.degree, xp, degrees)
        sums, parts = sums + earlier[0], parts + earlier[1]
    last = sums[..., -1:]
    return StateForward(
        problem=seen,
        polynomial=p,
        scores=_scores(after, seen),
        kernel=kernel,
        balance=_balance(after.scale, problem),
        queries=x,
        keys=y,
        largest=largest,
        values=right,
        numerator=sums[..., :-1],
        denominator=xp.where(last > 0, last, xp.full_like(last, xp.nan)),
        states=None,
        parts=parts if degrees else None,
        over_keys=after.additions,
        over_queries=over_queries,
    )


def _scores(state: PolynomialState, problem: Elsewhere) -> StateScores:
    lengths, radius = query_norms(problem), state.radius[..., None]
    bound = up(state.scale * lengths * radius * (1 + 4 * problem.u))
    zeros, tiny = np.zeros((*problem.batch, 1)), _arrays.smallest_normal(problem.dtype)
    longest = np.max(lengths, axis=-1, keepdims=True)
    flushed = up(4 * state.scale * problem.d * tiny * (longest + radius))  # `centring`, step 5
    return StateScores(
        queries=problem.q,
        keys=problem.k,
        weights=None,
        key_shift=state.centre,
        middle=problem.xp.zeros_like(state.centre),
        keys_centred=False,
        centred=np.zeros(problem.batch, bool),
        reach=Reach(
            lengths=lengths,
            middle_length=zeros,
            key_lengths=None,
            radius=radius,
            bound=bound,
            size=bound,
            log_error=flushed,
            weights=None,
        ),
        problem=problem,
        scale=state.scale,
        xp=problem.xp,
    )


def _balance(scale: float, problem: Problem) -> Balance:
    mantissa, exponent = math.frexp(scale)
    none = np.zeros(problem.batch, np.int64)
    return Balance(mantissa=mantissa, of_queries=none + exponent, of_keys=none, xp=problem.xp)
