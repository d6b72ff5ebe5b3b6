"""The gradients of polynomial attention over blocks of tokens.

Symbols as in `gradient` and `gradient_error`: left_i = [G_i, -kappa_i] / D_i, right_j = [v_j, 1]; S
is the state of keys and values, x_i = beta q_i, y_j = k_j - c.

1. With R' = P' (consistent) or R = int P (plug-in), dq_i is the gradient of left_i . (phi(x_i)^T
   S_R) with respect to x_i, times beta.
2. So with A_R = sum_i w phi(x_i) left_i^T, the same state of queries, dk_j is the gradient of
   right_j . (phi(y_j)^T A_R) with respect to y_j, and dv_j is phi(y_j)^T A without its last entry.
3. A query needs the state of all keys before it can join A; a key needs all of A. Hence one pass
   over keys, one over queries, and the answers.
4. The centre c and the coefficients of P are held fixed: c is the mean of some keys, and any c is
   exact. dk is then the exact formula's, and its bound need not count a mean that is taken out.
5. Bounds of dk and dv by queries are sums over queries. Those key by key are sums of two more
   columns of left, divided by what these can be at most: `gradient_error`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem, check_cotangent, refuse_overflow
from approxattn.bounds.elsewhere import keys_alone, queries_alone
from approxattn.bounds.gradients import cotangent_size
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import times, up
from approxattn.bounds.scores import row_norms, spread_of
from approxattn.certificate import SOFTMAX_GRADIENT, Approximation, Certificate
from approxattn.methods.polynomials.balance import times_power
from approxattn.methods.polynomials.choosing.output_certificate import facts_of, unmet_of
from approxattn.methods.polynomials.gradient_error import (
    Cotangent,
    bounds_by_queries,
    cotangent_of,
    lost_quotients,
    truncation_columns,
    truncation_of_keys,
)
from approxattn.methods.polynomials.sharding.run import StateForward, run_over
from approxattn.methods.polynomials.sharding.shards import PolynomialShards, Settings
from approxattn.methods.polynomials.shift import shift_keys
from approxattn.methods.polynomials.state import PolynomialState
from approxattn.methods.sharded import Answer, Answers, Call, Known, Pass
from approxattn.monomials.kernel import key_sum_terms
from approxattn.monomials.states import read_gradients, read_states, states


class Measured(NamedTuple):
    """What is known of all queries and cotangents beforehand.

    Attributes
    ----------
    length, size : ndarray, shape (...)
        Length of the longest query, and largest sum_c |G_ic|.
    top : float
        Largest entry of the cotangent.
    tokens, merges : int
        Most tokens of a piece, and the longest chain of merges behind it.
    """

    length: HostArray
    size: HostArray
    top: float
    tokens: int
    merges: int

    def merge(self, other: Measured) -> Measured:
        """Return that of both."""
        return Measured(
            np.maximum(self.length, other.length),
            np.maximum(self.size, other.size),
            max(self.top, other.top),
            max(self.tokens, other.tokens),
            max(self.merges, other.merges) + 1,
        )


class KeySums(NamedTuple):
    """The state of the keys, and S_R where R is not P."""

    own: PolynomialState
    primitive: Array | None

    def merge(self, other: KeySums) -> KeySums:
        """Return that of both."""
        primitive = None if self.primitive is None else self.primitive + other.primitive
        return KeySums(self.own.merge(other.own), primitive)


class QuerySums(NamedTuple):
    """What queries leave behind for the keys.

    Attributes
    ----------
    own, primitive : array, shapes (..., r, dv + 3), (..., r', dv + 1)
        A with two columns for bounds, and A_R where R is not P.
    dk, dv, rounded_dk, rounded_dv : ndarray, shape (...)
        Bounds by queries, and what they are without truncation.
    noise, below : ndarray, shapes (..., 1, 2), (..., 1, 1)
        What rounding and underflow add to the two columns.
    known : ndarray of bool, shape (...)
        Whether all weights are known to be positive.
    facts, unmet
        Of the certificates.
    """

    own: Array
    primitive: Array | None
    dk: HostArray
    dv: HostArray
    rounded_dk: HostArray
    rounded_dv: HostArray
    noise: HostArray
    below: HostArray
    known: HostArray
    facts: dict[str, Any]
    unmet: tuple[str, ...]

    def merge(self, other: QuerySums) -> QuerySums:
        """Return that of both."""
        names = ("dk", "dv", "rounded_dk", "rounded_dv", "noise", "below")
        added: dict[str, Any] = {
            name: up(getattr(self, name) + getattr(other, name)) for name in names
        }
        primitive = None if self.primitive is None else self.primitive + other.primitive
        return self._replace(
            own=self.own + other.own,
            primitive=primitive,
            known=self.known & other.known,
            unmet=tuple(dict.fromkeys((*self.unmet, *other.unmet))),
            **added,
        )


@dataclass(frozen=True, kw_only=True)
class PolynomialGradientShards:
    """One call of the gradient of `Polynomial`; parameters as of `PolynomialShards`."""

    method: Any
    call: Call

    @property
    def _forward(self) -> PolynomialShards:
        return PolynomialShards(method=self.method, call=self.call)

    @property
    def passes(self) -> tuple[Pass, ...]:
        """Those before the sums, with the cotangents; sums over keys; sums over queries."""
        queries = Pass(name="queries", takes=("q", "dout"), fold=self.measure, settle=self.checked)
        before = [one for one in self._forward.before if one.name != "queries"]
        return (
            *before[:-1],
            queries,
            before[-1],
            Pass(name="state", takes=("k", "v"), fold=self.fold, long=True),
            Pass(name="adjoint", takes=("q", "dout"), fold=self.fold_queries, long=True),
        )

    @property
    def answers(self) -> tuple[Answer, ...]:
        """dq, and dk with dv."""
        return (
            Answer(name="dq", takes=("q", "dout"), give=self.of_queries),
            Answer(name="dkv", takes=("k", "v"), give=self.of_keys),
        )

    scan = None

    def measure(self, known: Known, first: int, q: Array, dout: Array) -> Measured:
        """Return what must be known of queries and cotangents."""
        del known, first
        problem, like = queries_alone(q, self.call.scale), queries_alone(dout, None)
        return Measured(
            np.asarray(np.max(row_norms(problem.q, problem.xp), axis=-1)),
            np.asarray(np.max(cotangent_size(like.q, like.xp), axis=-1)),
            float(like.xp.max(like.xp.abs(like.q))),
            problem.n_q,
            0,
        )

    def checked(self, known: Known, found: Measured) -> Measured:
        """Return it, unless sums over all queries could overflow."""
        del known
        refuse_overflow("n max|dout|", 2 * self.call.queries * found.top, self.call.dtype)
        return found

    def fold(self, known: Known, first: int, k: Array, v: Array) -> KeySums:
        """Return the state of keys and values."""
        own = self._forward.fold(known, first, k, v)
        c = self._primitive(own)
        if c is None:
            return KeySums(own, None)
        y, right, problem = self._key_side(known, k, v)
        return KeySums(own, states(y, right, c, problem.xp))

    def fold_queries(self, known: Known, first: int, q: Array, dout: Array) -> QuerySums:
        """Return what queries leave behind for the keys."""
        del first
        run, cotangent, left = self._run(known, q, dout)
        problem, xp, kind = run.problem, run.problem.xp, self.method.gradient
        bounds, rounded = bounds_by_queries(run, self._cast(dout, problem), kind, cotangent)
        columns, noise = truncation_columns(run, cotangent)
        top = self._largest_columns(known)
        unit = np.where(np.isfinite(columns), columns / top, 0.0)
        unit = _arrays.cast(_arrays.from_host(unit, problem.q), problem.dtype, xp)
        wide = xp.concat([left, unit / run.denominator], axis=-1)
        c = self._primitive(known["state"].own)
        known_positive = np.all(run.positive & np.isfinite(columns).all(axis=-1), axis=-1)
        return QuerySums(
            own=states(run.queries, wide, run.polynomial.coefficients, xp),
            primitive=None if c is None else states(run.queries, left, c, xp),
            dk=bounds.dk[..., 0],
            dv=bounds.dv[..., 0],
            rounded_dk=rounded.dk[..., 0],
            rounded_dv=rounded.dv[..., 0],
            noise=np.where(np.isfinite(noise), noise, np.inf),
            below=lost_quotients(run),
            known=known_positive,
            facts=self._facts(run),
            unmet=unmet_of(run),
        )

    def of_queries(self, known: Known, first: int, q: Array, dout: Array) -> Answers:
        """Return dq of some queries."""
        del first
        run, cotangent, left = self._run(known, q, dout)
        problem, sums, kind = run.problem, known["state"], self.method.gradient
        degree = run.polynomial.degree + (0 if sums.primitive is None else 1)
        state = sums.own.sums if sums.primitive is None else sums.primitive
        dx = read_gradients(run.queries, left, state, degree, problem.xp)
        bounds, _ = bounds_by_queries(run, self._cast(dout, problem), kind, cotangent)
        certificate = _certificate(bounds.dq, self._facts(run), unmet_of(run))
        return {"dq": Approximation(value=run.balance.query_gradient(dx), certificate=certificate)}

    def of_keys(self, known: Known, first: int, k: Array, v: Array) -> Answers:
        """Return dk and dv of some keys."""
        del first
        state: PolynomialState = known["state"].own
        sums: QuerySums = known["adjoint"]
        y, right, problem = self._key_side(known, k, v)
        xp, degree, dv = problem.xp, state.polynomial.degree, problem.dv
        read = read_states(y, sums.own, degree, xp)
        if sums.primitive is None:
            dk = read_gradients(y, right, sums.own[..., : dv + 1], degree, xp)
        else:
            dk = read_gradients(y, right, sums.primitive, degree + 1, xp)
        of_columns = _arrays.to_float64(read[..., dv + 1 :])
        top = self._largest_columns(known)
        by_keys = truncation_of_keys(of_columns, top, sums.noise, sums.below, sums.known, problem.u)
        dk_rows = np.minimum(sums.dk[..., None], up(by_keys[..., 0] + sums.rounded_dk[..., None]))
        # those are of keys times a power of two
        power = known["settings"].power
        tiny = _arrays.smallest_normal(problem.dtype)
        dk = times_power(dk, np.full(problem.batch, power), xp)
        dk_rows = up(np.ldexp(dk_rows, power) + (tiny if power else 0.0))
        dv_rows = np.minimum(sums.dv[..., None], up(by_keys[..., 1] + sums.rounded_dv[..., None]))
        return {
            "dk": Approximation(
                value=dk, certificate=_certificate(dk_rows, sums.facts, sums.unmet)
            ),
            "dv": Approximation(
                value=read[..., :dv], certificate=_certificate(dv_rows, sums.facts, sums.unmet)
            ),
        }

    def _run(self, known: Known, q: Array, dout: Array) -> tuple[StateForward, Cotangent, Array]:
        """Return the forward pass, what the bounds share, and left."""
        state: PolynomialState = known["state"].own
        measured: Measured = known["queries"]
        problem = queries_alone(q, state.scale)
        degree = state.polynomial.degree + 1
        terms = key_sum_terms(measured.tokens, problem.d, degree, causal=False)
        run = run_over(state, problem, terms + measured.merges)
        dout = check_cotangent(dout, run.problem, q)
        xp = problem.xp
        kappa = xp.sum(dout * run.value, axis=-1, keepdims=True)
        left = xp.concat([dout, -kappa], axis=-1) / run.denominator
        return run, cotangent_of(run, dout, self.method.gradient), left

    def _cast(self, dout: Array, problem: Problem) -> Array:
        return _arrays.cast(dout, problem.dtype, problem.xp)

    def _primitive(self, state: PolynomialState) -> tuple[float, ...] | None:
        """Return the coefficients of R where R is not P."""
        if self.method.gradient == "consistent":
            return None
        return state.polynomial.antiderivative()

    def _key_side(self, known: Known, k: Array, v: Array) -> tuple[Array, Array, Problem]:
        """Return y and right, and keys and values as a problem."""
        settings: Settings = known["settings"]
        problem = replace(keys_alone(k, v), k=settings.keys(k))
        ones = problem.xp.ones_like(problem.v[..., :1])
        right = problem.xp.concat([problem.v, ones], axis=-1)
        return shift_keys(problem, settings.centre, problem.dtype), right, problem

    def _largest_columns(self, known: Known) -> HostArray:
        """Return what the two columns of `truncation_columns` are at most, shape (..., 1, 2)."""
        state: PolynomialState = known["state"].own
        measured: Measured = known["queries"]
        osc = spread_of(state.high, state.low).osc
        bound = up(state.scale * measured.length * state.radius * (1 + 2.0**-16))
        log_ratio = state.polynomial.log_ratio(np.minimum(bound, state.polynomial.half_range))
        excess = np.minimum(np.expm1(log_ratio), np.finfo(np.float64).max)
        moved = times(state.scale, measured.length, times(measured.size, osc))
        columns = [(excess + tv_from_log_ratio(log_ratio)) * moved, excess * measured.size]
        top = np.stack(columns, axis=-1)[..., None, :]
        return np.where((top > 0) & np.isfinite(top), top, 1.0)

    def _facts(self, run: StateForward) -> dict[str, Any]:
        largest = {"score bound": np.max(run.scores.bound, initial=0.0)}
        return {"gradient": self.method.gradient, **facts_of(run), **largest}


def _certificate(rows: HostArray, facts: dict[str, Any], unmet: tuple[str, ...]) -> Certificate:
    return Certificate(
        rows=rows, target=SOFTMAX_GRADIENT, theorem="ours.gradient", facts=facts, unmet=unmet
    )
