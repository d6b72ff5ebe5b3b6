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
from approxattn._arrays import HostArray
from approxattn._problem import Problem
from approxattn.bounds.elsewhere import Elsewhere, Extent, elsewhere
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import query_norms
from approxattn.methods.polynomials.balance import Balance, scaled
from approxattn.methods.polynomials.centring import CentredScores
from approxattn.methods.polynomials.folding.fold import refuse_large_sums
from approxattn.methods.polynomials.forward import Forward
from approxattn.methods.polynomials.state import PolynomialState
from approxattn.monomials.kernel import Kernel, feature_roundings
from approxattn.monomials.states import read_states_with_parts


@dataclass(frozen=True, kw_only=True)
class StateScores(CentredScores):
    """Scores of queries with the keys of a state."""

    def _key_powers(self, degree: int) -> list[HostArray]:
        """Return the number of keys for each K_t."""
        return [self.total[..., :1]] * (degree + 1)


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
        return feature_roundings(self.problem.d, degree) + self.over_keys + 4 * degree + 4

    def kind_of(self, coefficients: tuple[float, ...]) -> str:
        """Return that all sums go by features."""
        del coefficients
        return "features"

    def longest_path(self, coefficients: tuple[float, ...]) -> int:
        """Return the part of K that belongs to sums with them, over keys or over queries."""
        longest = max(self.over_keys, self.over_queries)
        return feature_roundings(self.problem.d, len(coefficients) - 1) + longest + 2


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
        lengths=lengths,
        radius=radius,
        middle_length=zeros,
        bound=bound,
        size=bound,
        total=np.broadcast_to(np.float64(problem.n_k), bound.shape),
        log_error=flushed,
        causal=False,
        key_shares=np.ones((*problem.batch, 1)),
        host_weights=None,
        scale=state.scale,
        xp=problem.xp,
    )


def _balance(scale: float, problem: Problem) -> Balance:
    mantissa, exponent = math.frexp(scale)
    none = np.zeros(problem.batch, np.int64)
    return Balance(mantissa=mantissa, of_queries=none + exponent, of_keys=none, xp=problem.xp)
