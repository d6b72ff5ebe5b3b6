"""One forward pass with exp replaced by a polynomial: what the output, the gradient and their
certificates share.

Symbols. Scores are those of `centring`: s_ij = beta q_i . k_j of centred queries and keys, |s_ij|
<= B_i. Key j has the weight w_j, 0 <= w_j <= 1; W_i is the sum of the weights that row i sees,
their number where there are none. P(s) = sum_t c_t s^t has the degree g.

Rounding (proved here).

1. beta |q_i| |k_j| bounds the sum of the sizes of the products in a score; R_i is the largest of
   these bounds over the keys.
2. So sum_t |c_t| (beta |q_i| |k_j|)^t bounds the sum of the sizes of the terms of P(s_ij).
3. A computed term is off by at most gamma_K w_j times that. K counts the roundings on its way:
   those of `monomials.kernel`, one of w_j v_j, one where sums over earlier keys join those over
   later ones, and for each of g factors one of centring k, one of centring q and two of scaling it.
4. K_t = sum_j w_j (|k_j| / max|k_j|)^t over the keys that row i sees adds 3 up (`key_powers`): the
   sums are off by at most E_i M and E_i with E_i = gamma_K sum_t |c_t| R_i^t K_t, for values of
   size at most M. What underflow takes joins E_i. The rest is `row_rounding`.
5. Weights of both signs have an l1 norm up to 1 + 2 mu (`bounds.moments`), where `row_rounding`
   counts 1: all it says is taken times that.
6. The part of the denominator that belongs to degree t is off by at most gamma_K |c_t| R_i^t K_t
   and what underflow takes; divided by c_t it is a moment of the row's scores.

gamma_K is a worst case: it bounds any order of summation and any BLAS.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.moments import l1_norm
from approxattn.bounds.perturbation import tv_from_log_ratio
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import value_spread
from approxattn.exponential import ExpPolynomial, exp_polynomial
from approxattn.methods.polynomials.balance import Balance, balanced
from approxattn.methods.polynomials.centring import CentredScores, centred_keys
from approxattn.methods.polynomials.crossing.candidates import choose_queries
from approxattn.methods.polynomials.moment_error import (
    Parts,
    degrees_summed,
    moment_error,
    theorem_for,
    with_last,
)
from approxattn.methods.polynomials.row_rounding import RowRounding, row_rounding, weight_noise
from approxattn.monomials.dense import derivative
from approxattn.monomials.kernel import (
    Kernel,
    cheapest_kind,
    largest_partial_sum,
    parts_underflow,
    sum_roundings,
    underflow,
)


@dataclass(frozen=True, kw_only=True)
class Forward:
    """Queries and keys as the kernel takes them, and the sums of the output.

    Attributes
    ----------
    polynomial : ExpPolynomial
        P.
    scores : CentredScores
        Where the queries, keys and weights come from, with B_i and R_i.
    balance : Balance
        How `queries` and `keys` are made of them.
    queries, keys : array, shapes (..., n_q, d), (..., n_k, d)
        Equally large; their dot products are the scores.
    largest : tuple of float
        Largest entries of `queries` and `keys`.
    values : array, shape (..., n_k, dv + 1)
        w [V, 1], with the rows of keys that take no part set to 0.
    numerator, denominator : array, shapes (..., n_q, dv), (..., n_q, 1)
        sum_j w_j P(s_ij) v_j and sum_j w_j P(s_ij); a denominator lost to rounding (<= 0) is NaN.
    states : array or None
        What `Kernel.gradients` can use of the sums, when asked for.
    parts : array or None
        sum_j w_j c_t s_ij^t for the degrees t of `degrees_summed`, shape (..., n_q, their number);
        None where there are none.
    """

    problem: Problem
    polynomial: ExpPolynomial
    scores: CentredScores
    kernel: Kernel
    balance: Balance
    queries: Array
    keys: Array
    largest: tuple[float, float]
    values: Array
    numerator: Array
    denominator: Array
    states: Array | None
    parts: Array | None

    @functools.cached_property
    def value(self) -> Array:
        """The output, shape (..., n_q, dv)."""
        return self.numerator / self.denominator

    @functools.cached_property
    def log_ratio(self) -> HostArray:
        """ln rho_i of the weights in exact arithmetic, those of the keys as computed, shape (...,
        n_q).
        """
        return up(self.polynomial.log_ratio(self.scores.bound) + self.scores.log_error)

    @functools.cached_property
    def host_denominator(self) -> HostArray:
        """The denominators in float64 on the host, shape (..., n_q)."""
        return np.asarray(_arrays.to_host(self.denominator[..., 0]), dtype=np.float64)

    @property
    def lost(self) -> HostArray:
        """Which denominators are lost to rounding, bool, shape (..., n_q)."""
        return ~(self.host_denominator > 0)

    @functools.cached_property
    def positive(self) -> HostArray:
        """Where all weights are known to be positive: T1 says something, shape (..., n_q)."""
        return np.isfinite(self.log_ratio)

    @functools.cached_property
    def tv(self) -> HostArray:
        """Half of the l1 distance to the exact weights, in exact arithmetic, shape (..., n_q): the
        smaller of T1 and T5. Weights of both signs have T5 only, and it may be above 1.
        """
        with np.errstate(invalid="ignore"):
            least = self.log_ratio / (4 + self.log_ratio)  # x / (1 + x) <= tanh x
        if np.all(self.mu <= least):
            return self.mu
        return np.minimum(self.by_range, self.mu)

    @functools.cached_property
    def by_range(self) -> HostArray:
        """That bound by T1, from the range of the scores; inf where there is none."""
        return np.where(self.positive, tv_from_log_ratio(self.log_ratio), np.inf)

    @property
    def theorem(self) -> str:
        """The key of the theorem behind the largest truncation."""
        most = np.max(self.log_ratio, initial=0.0)  # by T1 the larger the worse
        by_range = tv_from_log_ratio(most) if np.isfinite(most) else np.asarray(np.inf)
        return theorem_for(self.polynomial, self.mu, by_range)

    @functools.cached_property
    def mu(self) -> HostArray:
        """That bound by T5, the error of the keys' weights included; inf where there is none."""
        if self.host_parts is None:
            return np.full(self.scores.bound.shape, np.inf)
        denominator = self.host_denominator, self.denominator_noise
        found = moment_error(self.polynomial, self.scores.bound, self.host_parts, *denominator)
        # the keys' own weights are a second step from the exact row: distances add up
        return up(found + tv_from_log_ratio(self.scores.log_error))

    @functools.cached_property
    def host_parts(self) -> Parts | None:
        """The parts with what they may be off by, on the host."""
        if self.parts is None:
            return None
        p, scores = self.polynomial, self.scores
        found = np.asarray(_arrays.to_host(self.parts), dtype=np.float64)
        rounding, of_last = gamma(self.roundings, self.problem.u), None
        if p.moments is not None and found.shape[-1] < len(p.moments.degrees):
            error = rounding * scores.absolute(p.coefficients) + p.degree * self.parts_lost
            rest = self.host_denominator, scores.total, error, self.problem.n_k
            found, of_last = with_last(p, found, *rest)
        return Parts(
            found=found,
            total=scores.total,
            power=scores.power,
            rounding=rounding,
            lost=self.parts_lost,
            of_last=of_last,
        )

    @functools.cached_property
    def size(self) -> HostArray:
        """Bound on the l1 norm of the normalised weights, shape (..., n_q)."""
        return l1_norm(self.mu, self.positive)

    @property
    def roundings(self) -> int:
        """K."""
        problem, degree = self.problem, self.polynomial.degree
        of_sums = sum_roundings(self.kernel.kind, problem.n_k, problem.d, degree, problem.causal)
        return of_sums + 4 * degree + 2 + min(problem.earlier, 1)

    def kind_of(self, coefficients: tuple[float, ...]) -> str:
        """Return how sums with these coefficients are evaluated."""
        return kernel_of(self.problem, coefficients, self.largest).kind

    def longest_path(self, coefficients: tuple[float, ...]) -> int:
        """Return the part of K that belongs to sums with them, over keys or over queries."""
        problem, g = self.problem, len(coefficients) - 1
        longest, kind = max(problem.n_q, problem.n_k), self.kind_of(coefficients)
        return sum_roundings(kind, longest, problem.d, g, problem.causal)

    @functools.cached_property
    def denominator_noise(self) -> HostArray:
        """2 E_i / D~_i, shape (..., n_q); inf where the denominator is lost."""
        return self._relative(self.roundings, self.polynomial.coefficients)

    @functools.cached_property
    def weight_noise(self) -> HostArray:
        """What rounding does to the l1 norm of the normalised weights, shape (..., n_q)."""
        return up(self.denominator_noise * self.size)

    def noise(self, roundings: float, coefficients: tuple[float, ...]) -> HostArray:
        """Return that for a given K and polynomial: 2 E_i / D~_i times their l1 norm at most."""
        return up(self._relative(roundings, coefficients) * self.size)

    def _relative(self, roundings: float, coefficients: tuple[float, ...]) -> HostArray:
        error = gamma(roundings, self.problem.u) * self.scores.absolute(coefficients)
        lost = self.underflow * self.problem.visible_keys
        return weight_noise(self.host_denominator, error, lost)

    @functools.cached_property
    def underflow(self) -> HostArray:
        """What underflow can take from one term of the sums with P or P', shape (..., n_q), for
        values of size at most 1.
        """
        lost = np.asarray(np.maximum(*self._lost[:2]))
        if self.scores.weights is None:
            return lost
        tiny = _arrays.smallest_normal(self.problem.dtype)
        return np.asarray(lost + tiny * self.polynomial.absolute(self.scores.size))

    @functools.cached_property
    def _lost(self) -> tuple[HostArray, HostArray, HostArray]:
        """That with P and with P', for values without weights, and that of a part; one number for
        all rows where the largest of them is far below what rounding does to the smallest.
        """
        worst = self._lost_up_to(np.asarray(np.max(self.scores.size)))
        rounding = gamma(self.roundings, self.problem.u) * abs(self.polynomial.coefficients[0])
        least = 2.0**-50 * rounding * np.min(self.scores.total)
        if float(np.max(worst)) * self.problem.n_k <= least:
            return worst
        return self._lost_up_to(self.scores.size)

    def _lost_up_to(self, size: HostArray) -> tuple[HostArray, HostArray, HostArray]:
        """Return that for scores whose products have at most that size."""
        kind, coefficients = self.kernel.kind, self.polynomial.coefficients
        tiny = _arrays.smallest_normal(self.problem.dtype)
        of_sums, of_slopes = (
            underflow(kind, c, size, *self.largest, self.problem.d, tiny)
            for c in (coefficients, derivative(coefficients))
        )
        return of_sums, of_slopes, parts_underflow(of_sums, coefficients, size, tiny)

    @functools.cached_property
    def parts_lost(self) -> HostArray:
        """What underflow can take from a part, shape (..., n_q)."""
        return np.asarray(np.maximum(self._lost[2], self.underflow) * self.problem.visible_keys)

    @functools.cached_property
    def row_rounding(self) -> RowRounding:
        """The rounding error of each output row, for values of any size."""
        problem = self.problem
        return row_rounding(
            self.host_denominator,
            problem.visible_keys,
            self.weight_noise,
            self.underflow,
            problem.dtype,
        ).of_signed(self.size)

    @functools.cached_property
    def output_rounding(self) -> HostArray:
        """The bound on the rounding error of each output row, shape (..., n_q)."""
        return self.row_rounding.rows(value_spread(self.problem).top)


def forward(
    problem: Problem, scores: CentredScores, polynomial: ExpPolynomial, *, keep: bool = False
) -> Forward:
    """Run the sums; `keep` what the gradient can use."""
    _check_range(polynomial, scores.widest[1], problem)
    xp = problem.xp
    tokens = scores.balanced
    queries, keys = tokens.queries, tokens.keys
    values = values_and_one(problem)
    values = values if scores.weights is None else values * scores.weights
    kernel = kernel_of(problem, polynomial.coefficients, tokens.largest)
    states = parts = None  # sums: (..., n_q, dv + 1)
    degrees = degrees_summed(polynomial)
    if degrees:
        sums, parts, states = kernel.sums_with_parts(queries, keys, values, degrees, keep=keep)
    elif keep:
        sums, states = kernel.sums_and_states(queries, keys, values)
    else:
        sums = kernel.sums(queries, keys, values)
    denominator = sums[..., -1:]
    return Forward(
        problem=problem,
        polynomial=polynomial,
        scores=scores,
        kernel=kernel,
        balance=tokens.balance,
        queries=queries,
        keys=keys,
        largest=tokens.largest,
        values=values,
        numerator=sums[..., :-1],
        denominator=xp.where(denominator > 0, denominator, xp.full_like(denominator, xp.nan)),
        states=states,
        parts=parts,
    )


def taylor_value(problem: Problem, degree: int, centre: str) -> Array:
    """Return the output of the Taylor polynomial of a degree, shape (..., n_q, dv): the bits of
    `forward`, without what only bounds need.

    Sums that overflow are infinite or NaN. A row whose denominator is, or is lost to rounding, is
    NaN: a finite numerator over infinity would read 0.
    """
    xp, (keys, _) = problem.xp, centred_keys(problem, centre)
    chosen = choose_queries(problem, keys, centre=centre == "both", key_lengths=None)
    tops = None if chosen.crossed is None else chosen.crossed.tops
    tokens = balanced(chosen.queries, keys, problem.scale, xp, tops)
    values = values_and_one(problem)
    values = values if chosen.weights is None else values * chosen.weights
    polynomial = exp_polynomial(degree, 0.0, "taylor")
    kernel = kernel_of(problem, polynomial.coefficients, tokens.largest)
    degrees = degrees_summed(polynomial)  # how the sums are split decides their last bits
    sums, _, _ = kernel.sums_with_parts(tokens.queries, tokens.keys, values, degrees)
    denominator = sums[..., -1:]
    kept = (denominator > 0) & xp.isfinite(denominator)
    return sums[..., :-1] / xp.where(kept, denominator, xp.full_like(denominator, xp.nan))


def kernel_of(
    problem: Problem, coefficients: tuple[float, ...], largest: tuple[float, float]
) -> Kernel:
    """Return the kernel of a polynomial, evaluated by whatever costs less for this problem; by
    scores when features could overflow.

    `largest` are the largest entries of the kernel's queries and keys.
    """
    kind = cheapest_kind(problem.n_q, problem.n_k, problem.d, len(coefficients) - 1, problem.dv + 1)
    if kind == "features":
        top = max(1.0, float(np.max(value_spread(problem).top)))
        size = (
            largest_partial_sum(coefficients, problem.d, *largest)
            * max(problem.n_q, problem.n_k)
            * top
        )
        kind = kind if size < _arrays.largest(problem.dtype) / 16 else "scores"
    return Kernel(
        coefficients=coefficients,
        causal=problem.causal,
        kind=kind,
        xp=problem.xp,
        heads=problem.heads,
    )


def _check_range(polynomial: ExpPolynomial, size: HostArray, problem: Problem) -> None:
    """Refuse sums that could overflow the dtype."""
    worst = float(np.max(size))
    with np.errstate(over="ignore"):
        total = (
            float(polynomial.absolute(np.asarray(worst)))
            * problem.n_k
            * max(1.0, float(np.max(value_spread(problem).top)))
        )
    if not total < _arrays.largest(problem.dtype) / 16:
        msg = (
            f"scores are bounded by {worst:.4g}, where a polynomial of degree {polynomial.degree} "
            f"summed over {problem.n_k} keys can reach {total:.3g} and overflow {problem.dtype}: "
            "lower the degree or the scale, use float64, or use Exact()"
        )
        raise ValueError(msg)


def largest_entries(queries: Array, keys: Array, problem: Problem) -> tuple[float, float]:
    """Return the largest absolute entries of queries and keys."""
    xp = problem.xp
    q, k = (float(xp.max(_arrays.largest_size(x, xp))) for x in (queries, keys))
    return q, k


def values_and_one(problem: Problem) -> Array:
    """Return [V, 1]: numerator and denominator in one sum."""
    xp = problem.xp
    values = xp.concat([problem.v, xp.ones_like(problem.k[..., :1])], axis=-1)
    if problem.key_mask is None:
        return values
    return xp.where(problem.key_mask[..., None], values, xp.zeros_like(values))
