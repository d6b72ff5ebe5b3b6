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
from approxattn._problem import Problem, refuse_overflow
from approxattn._problem.cotangent import check_cotangent
from approxattn.bounds.elsewhere import keys_alone, queries_alone
from approxattn.bounds.gradients import cotangent_size
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import times, up
from approxattn.bounds.scores import row_norms, spread_of
from approxattn.certificate import SOFTMAX_GRADIENT, Approximation, Certificate
from approxattn.exponential import ExpPolynomial
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
from approxattn.methods.sharded import Answer, Answers, BothScans, Call, Known, Pass
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

    def slopes(self, p: ExpPolynomial) -> tuple[Array, int]:
        """Return S_R and the degree of R."""
        if self.primitive is None:
            return self.own.sums, p.degree
        return self.primitive, p.degree + 1


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

    def slopes(self, p: ExpPolynomial, dv: int) -> tuple[Array, int]:
        """Return A_R and the degree of R."""
        if self.primitive is None:
            return self.own[..., : dv + 1], p.degree
        return self.primitive, p.degree + 1


class Pull(NamedTuple):
    """The cotangent of some queries in the dtype computed in, left, and what the bounds share."""

    dout: Array
    left: Array
    cotangent: Cotangent


class Reach(NamedTuple):
    """The polynomial, the scale of its keys, the longest of these, and the range of the values."""

    polynomial: ExpPolynomial
    scale: float
    radius: HostArray
    high: HostArray
    low: HostArray


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

    @property
    def scan(self) -> BothScans | None:
        """None: queries see all keys."""
        return None

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
        c = self._primitive(own.polynomial)
        if c is None:
            return KeySums(own, None)
        y, right, problem = self._key_side(known, k, v)
        return KeySums(own, states(y, right, c, problem.xp))

    def fold_queries(self, known: Known, first: int, q: Array, dout: Array) -> QuerySums:
        """Return what queries leave behind for the keys."""
        del first
        run = self._run(known, q)
        return self.left_by(known, run, self.pull(run, q, dout))

    def left_by(self, known: Known, run: StateForward, pull: Pull) -> QuerySums:
        """Return what the queries of a pass leave behind."""
        xp, c = run.problem.xp, self._primitive(run.polynomial)
        bounds, rounded = bounds_by_queries(run, self.method.gradient, pull.cotangent)
        columns, noise = truncation_columns(run, pull.cotangent)
        unit = self.columns_of(known, run, columns)
        return QuerySums(
            own=states(
                run.queries,
                xp.concat([pull.left, unit], axis=-1),
                run.polynomial.coefficients,
                xp,
            ),
            primitive=None if c is None else states(run.queries, pull.left, c, xp),
            dk=bounds.dk[..., 0],
            dv=bounds.dv[..., 0],
            rounded_dk=rounded.dk[..., 0],
            rounded_dv=rounded.dv[..., 0],
            noise=np.where(np.isfinite(noise), noise, np.inf),
            below=lost_quotients(run),
            known=np.all(run.positive & np.isfinite(columns).all(axis=-1), axis=-1),
            facts=self._facts(run),
            unmet=unmet_of(run),
        )

    def columns_of(self, known: Known, run: StateForward, columns: HostArray) -> Array:
        """Return the columns for bounds in the dtype of the pass, over the denominators."""
        problem = run.problem
        unit = np.where(np.isfinite(columns), columns / self.largest_columns(known), 0.0)
        found = _arrays.cast(_arrays.from_host(unit, problem.q), problem.dtype, problem.xp)
        return found / run.denominator

    def of_queries(self, known: Known, first: int, q: Array, dout: Array) -> Answers:
        """Return dq of some queries."""
        del first
        run, sums = self._run(known, q), known["state"]
        pull = self.pull(run, q, dout)
        state, degree = sums.slopes(run.polynomial)
        dx = read_gradients(run.queries, pull.left, state, degree, run.problem.xp)
        return {"dq": self.dq_of(run, pull, dx)}

    def dq_of(self, run: StateForward, pull: Pull, dx: Array) -> Approximation:
        """Return dq from the gradient with respect to beta q."""
        bounds, _ = bounds_by_queries(run, self.method.gradient, pull.cotangent)
        certificate = _certificate(bounds.dq, self._facts(run), unmet_of(run))
        return Approximation(value=run.balance.query_gradient(dx), certificate=certificate)

    def of_keys(self, known: Known, first: int, k: Array, v: Array) -> Answers:
        """Return dk and dv of some keys."""
        del first
        state: PolynomialState = known["state"].own
        sums: QuerySums = known["adjoint"]
        y, right, problem = self._key_side(known, k, v)
        read = read_states(y, sums.own, state.polynomial.degree, problem.xp)
        pulled, degree = sums.slopes(state.polynomial, problem.dv)
        dy = read_gradients(y, right, pulled, degree, problem.xp)
        return self.dkv_of(known, sums, problem, dy, read)

    def dkv_of(
        self, known: Known, sums: QuerySums, problem: Problem, dy: Array, read: Array
    ) -> Answers:
        """Return dk and dv of the keys of a problem, from the gradient with respect to 2^power k
        and the sums over queries, with the bounds that `sums` knows.
        """
        dv, power = problem.dv, known["settings"].power
        of_columns, top = _arrays.to_float64(read[..., dv + 1 :]), self.largest_columns(known)
        by_keys = truncation_of_keys(of_columns, top, sums.noise, sums.below, sums.known, problem.u)
        dk_rows = np.minimum(sums.dk[..., None], up(by_keys[..., 0] + sums.rounded_dk[..., None]))
        dv_rows = np.minimum(sums.dv[..., None], up(by_keys[..., 1] + sums.rounded_dv[..., None]))
        lost = _arrays.smallest_normal(problem.dtype) if power else 0.0
        dk = times_power(dy, np.full(problem.batch, power), problem.xp)
        rows = {"dk": up(np.ldexp(dk_rows, power) + lost), "dv": dv_rows}
        values = {"dk": dk, "dv": read[..., :dv]}
        return {
            name: Approximation(
                value=values[name], certificate=_certificate(rows[name], sums.facts, sums.unmet)
            )
            for name in ("dk", "dv")
        }

    def _run(self, known: Known, q: Array) -> StateForward:
        """Return the forward pass of some queries."""
        state: PolynomialState = known["state"].own
        problem = queries_alone(q, state.scale)
        merges = known["queries"].merges
        return run_over(state, problem, self.terms(known, state.polynomial) + merges)

    def terms(self, known: Known, polynomial: ExpPolynomial) -> int:
        """Return the additions behind a sum over the queries of one piece."""
        tokens = known["queries"].tokens
        return key_sum_terms(tokens, self.call.d, polynomial.degree + 1, causal=False)

    def pull(self, run: StateForward, q: Array, dout: Array) -> Pull:
        """Return the cotangent as sums take it."""
        # of tokens that are in the dtype computed in already: the front end has compared dtypes
        problem = replace(run.problem, out_dtype=_arrays.dtype_name(dout))
        dout, xp = check_cotangent(dout, problem, q), problem.xp
        kappa = xp.sum(dout * run.value, axis=-1, keepdims=True)
        left = xp.concat([dout, -kappa], axis=-1) / run.denominator
        cotangent = cotangent_of(run, cotangent_size(dout, xp), self.method.gradient)
        return Pull(dout, left, cotangent)

    def _primitive(self, polynomial: ExpPolynomial) -> tuple[float, ...] | None:
        """Return the coefficients of R where R is not P."""
        return None if self.method.gradient == "consistent" else polynomial.antiderivative()

    def _key_side(self, known: Known, k: Array, v: Array) -> tuple[Array, Array, Problem]:
        """Return y and right, and keys and values as a problem."""
        settings: Settings = known["settings"]
        problem = replace(keys_alone(k, v), k=settings.keys(k))
        ones = problem.xp.ones_like(problem.v[..., :1])
        right = problem.xp.concat([problem.v, ones], axis=-1)
        return shift_keys(problem, settings.centre, problem.dtype), right, problem

    def largest_columns(self, known: Known) -> HostArray:
        """Return about what the columns of `truncation_columns` are at most, shape (..., 1, 2)."""
        reach, measured = self.reach(known), known["queries"]
        osc, polynomial = spread_of(reach.high, reach.low).osc, reach.polynomial
        bound = up(reach.scale * measured.length * reach.radius * (1 + 2.0**-16))
        log_ratio = polynomial.log_ratio(np.minimum(bound, polynomial.half_range))
        excess = np.minimum(np.expm1(log_ratio), np.finfo(np.float64).max)
        moved = times(reach.scale, measured.length, times(measured.size, osc))
        columns = [(excess + tv_from_log_ratio(log_ratio)) * moved, excess * measured.size]
        top = np.stack(columns, axis=-1)[..., None, :]
        return np.where((top > 0) & np.isfinite(top), top, 1.0)

    def reach(self, known: Known) -> Reach:
        """Return how far all keys and values reach."""
        s: PolynomialState = known["state"].own
        return Reach(s.polynomial, s.scale, s.radius, s.high, s.low)

    def _facts(self, run: StateForward) -> dict[str, Any]:
        largest = {"score bound": np.max(run.scores.bound, initial=0.0)}
        return {"gradient": self.method.gradient, **facts_of(run), **largest}


def _certificate(rows: HostArray, facts: dict[str, Any], unmet: tuple[str, ...]) -> Certificate:
    return Certificate(
        rows=rows, target=SOFTMAX_GRADIENT, theorem="ours.gradient", facts=facts, unmet=unmet
    )
