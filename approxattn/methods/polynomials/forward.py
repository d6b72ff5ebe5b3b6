"""One forward pass with exp replaced by a polynomial: what the output, the gradient and their
certificates share.

Scores are those of `centring`: s_ij = beta q_i . k_j of centred queries and keys, |s_ij| <= B_i,
key j with the weight w_j, 0 <= w_j <= 1.

Rounding (proved here). Let A_i = sum_t |c_t| R_i^t with R_i = beta |q_i| max|k_j|, which bounds the
terms of a score and so of its powers. Every term of a computed sum is off by at most gamma_K A_i
w_j, where K counts the roundings on its way: those of `monomials.kernel`, one of w_j v_j, and for
each of g factors of a monomial one of centring k, one of centring q and two of scaling it. So
numerator and denominator are off by at most e_i max|V| and e_i, with e_i = gamma_K W_i A_i, W_i the
sum of the weights that row i sees (their number without weights), and for the computed D~_i > 0

    |N~/D~ - N/D| <= |N~ - N|/D~ + |N/D| |D~ - D|/D~ <= 2 e_i max|V| / D~_i,

and likewise the computed weights are off by at most 2 e_i / D~_i in l1 norm. gamma_K is a worst
case, so it bounds any order of summation and any BLAS. What underflow takes from a term
(`monomials.kernel`) joins e_i.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem import Problem
from approxattn.bounds.rounding import gamma, up
from approxattn.bounds.scores import value_spread
from approxattn.exponential import ExpPolynomial
from approxattn.methods.polynomials.centring import CentredScores
from approxattn.monomials.dense import derivative
from approxattn.monomials.kernel import (
    Kernel,
    cheapest_kind,
    largest_partial_sum,
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
    queries, keys : array, shapes (..., n_q, d), (..., n_k, d)
        beta balance (q - m) and (k - c) / balance: their dot products are the scores.
    balance : array, shape (..., 1, 1)
        Powers of two that make queries and keys of an item equally large.
    values : array, shape (..., n_k, dv + 1)
        w [V, 1], with the rows of keys that take no part set to 0.
    numerator, denominator : array, shapes (..., n_q, dv), (..., n_q, 1)
        sum_j w_j P(s_ij) v_j and sum_j w_j P(s_ij); a denominator lost to rounding (<= 0) is NaN.
    states : array or None
        What `Kernel.gradients` can use of the sums, when asked for.
    """

    problem: Problem
    polynomial: ExpPolynomial
    scores: CentredScores
    kernel: Kernel
    queries: Array
    keys: Array
    balance: Array
    values: Array
    numerator: Array
    denominator: Array
    states: Array | None

    @property
    def value(self) -> Array:
        """The output, shape (..., n_q, dv)."""
        return self.numerator / self.denominator

    @functools.cached_property
    def reach(self) -> tuple[float, float]:
        """Largest entries of `queries` and `keys`."""
        return _reach(self.queries, self.keys, self.problem.xp)

    def log_ratio(self) -> HostArray:
        """Return ln rho_i of the weights in exact arithmetic, those of the keys as computed, shape
        (..., n_q).
        """
        return up(self.polynomial.log_ratio(self.scores.bound) + self.scores.log_error)

    @functools.cached_property
    def host_denominator(self) -> HostArray:
        """The denominators in float64 on the host, shape (..., n_q)."""
        return _arrays.to_host(self.denominator[..., 0]).astype(np.float64)

    @functools.cached_property
    def weight_noise(self) -> HostArray:
        """2 e_i / D~_i, shape (..., n_q); inf where the denominator is lost."""
        degree, problem = self.polynomial.degree, self.problem
        roundings = (
            sum_roundings(self.kernel.kind, problem.n_k, problem.d, degree, problem.causal)
            + 4 * degree
            + 2
        )
        return self.noise(roundings, self.polynomial.absolute(self.scores.size))

    def noise(self, roundings: float, absolute: HostArray) -> HostArray:
        """Return 2 gamma_K W_i A_i / D~_i for given K and A_i."""
        error = gamma(roundings, self.problem.u) * absolute * self.scores.total
        lost = self.underflow * self.problem.visible_keys
        return weight_noise(self.host_denominator, np.ones(1), error, lost)

    @functools.cached_property
    def underflow(self) -> HostArray:
        """What underflow can take from one term of the sums with P or P', shape (..., n_q), for
        values of size at most 1.
        """
        problem, coefficients = self.problem, self.polynomial.coefficients
        tiny = _arrays.smallest_normal(problem.dtype)
        both = (coefficients, derivative(coefficients))
        lost = [
            underflow(self.kernel.kind, c, self.scores.size, *self.reach, problem.d, tiny)
            for c in both
        ]
        weighted = (
            0.0
            if self.scores.weights is None
            else tiny * self.polynomial.absolute(self.scores.size)
        )  # of w_j v_j
        return np.maximum(*lost) + weighted

    @functools.cached_property
    def output_rounding(self) -> HostArray:
        """The bound on the rounding error of each output row, shape (..., n_q)."""
        top = value_spread(self.problem).top[..., None]
        sums = self.host_denominator, self.problem.visible_keys
        return output_rounding(*sums, self.weight_noise, self.underflow, top, self.problem.dtype)


def weight_noise(
    denominator: HostArray, visible: HostArray, error: HostArray, lost: HostArray
) -> HostArray:
    """Return 2 m_i (gamma_K A_i + what underflow takes) / D~_i for m_i keys of weight 1; inf where
    the denominator is lost.
    """
    safe = np.where(denominator > 0, denominator, 1.0)
    return np.where(denominator > 0, up(2 * (error + lost) * visible / safe), np.inf)


def output_rounding(
    denominator: HostArray,
    visible: HostArray,
    noise: HostArray,
    lost: HostArray,
    top: HostArray,
    dtype: str,
) -> HostArray:
    """Return the bound on the rounding error of each output row from its `weight_noise`, for values
    of size at most `top`.
    """
    finite = np.where(np.isfinite(noise), noise, 0.0)
    tiny, u = _arrays.smallest_normal(dtype), _arrays.unit_roundoff(dtype)
    safe = np.where(denominator > 0, denominator, 1.0)
    # lost by the numerator, which may be smaller than 1
    numerator = 2 * visible * (lost + tiny) / safe
    return np.where(np.isfinite(noise), up((finite + 8 * u) * top + numerator + tiny), np.inf)


def forward(
    problem: Problem, scores: CentredScores, polynomial: ExpPolynomial, *, keep: bool = False
) -> Forward:
    """Run the sums; `keep` what the gradient can use."""
    _check_range(polynomial, scores.size, problem)
    xp, balance = problem.xp, _balance(problem, scores)
    queries, keys = scores.queries * problem.scale * balance, scores.keys / balance
    values = values_and_one(problem)
    values = values if scores.weights is None else values * scores.weights
    kernel = kernel_of(problem, polynomial.coefficients, _reach(queries, keys, xp))
    run = kernel.sums_and_states if keep else lambda *tokens: (kernel.sums(*tokens), None)
    sums, states = run(queries, keys, values)  # (..., n_q, dv + 1)
    denominator = sums[..., -1:]
    return Forward(
        problem=problem,
        polynomial=polynomial,
        scores=scores,
        kernel=kernel,
        queries=queries,
        keys=keys,
        balance=balance,
        values=values,
        numerator=sums[..., :-1],
        denominator=xp.where(denominator > 0, denominator, xp.full_like(denominator, xp.nan)),
        states=states,
    )


def kernel_of(
    problem: Problem, coefficients: tuple[float, ...], reach: tuple[float, float]
) -> Kernel:
    """Return the kernel of a polynomial, evaluated by whatever costs less for this problem; by
    scores when features could overflow.

    `reach` are the largest entries of the kernel's queries and keys.
    """
    kind = cheapest_kind(problem.n_q, problem.n_k, problem.d, len(coefficients) - 1, problem.dv + 1)
    if kind == "features":
        top = max(1.0, float(np.max(value_spread(problem).top)))
        size = (
            largest_partial_sum(coefficients, problem.d, *reach)
            * max(problem.n_q, problem.n_k)
            * top
        )
        kind = kind if size < _arrays.largest(problem.dtype) / 16 else "scores"
    return Kernel(coefficients=coefficients, causal=problem.causal, kind=kind, xp=problem.xp)


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


def _reach(queries: Array, keys: Array, xp: Namespace) -> tuple[float, float]:
    q, k = (float(xp.max(_arrays.largest_size(x, xp))) for x in (queries, keys))
    return q, k


def values_and_one(problem: Problem) -> Array:
    """Return [V, 1]: numerator and denominator in one sum."""
    xp = problem.xp
    values = xp.concat([problem.v, xp.ones_like(problem.v[..., :1])], axis=-1)
    if problem.key_mask is None:
        return values
    return xp.where(problem.key_mask[..., None], values, xp.zeros_like(values))


def _balance(problem: Problem, scores: CentredScores) -> Array:
    """Return powers of two, shape (..., 1, 1), that make queries and keys of an item equally large:
    no monomial overflows before its partner shrinks it.
    """
    sizes = (_arrays.largest_size(x, problem.xp) for x in (scores.queries, scores.keys))
    q, k = (_arrays.to_host(size).astype(np.float64) for size in sizes)
    both = (q > 0) & (k > 0)
    ratio = np.where(both, k, 1.0) / np.where(both, q, 1.0) / problem.scale
    power = np.exp2(np.round(np.log2(ratio) / 2))[..., None, None]
    return _arrays.cast(_arrays.from_host(np.asarray(power), problem.q), problem.dtype, problem.xp)
