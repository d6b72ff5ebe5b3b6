"""Attention with exp replaced by a polynomial: linear in n, with an a-priori bound for every row.

Alman & Song (2023, 2024) and Liang et al. (2024) replace A = exp(beta Q K^T) by P(beta Q K^T), whose rank is C(d + g, g). Here the keys are first
centred (exact: it shifts each row of scores by a constant), and P is either the even Taylor polynomial, whose ratio to exp is known for any
score (T2), or the polynomial of least relative error on the interval in which the scores lie (T1).

Rounding (proved here). Let a_ij = sum_t |c_t| (beta |q_i| |k_j|)^t <= A_i = P_abs(B_i). Every term of the computed sum differs from the true one by a factor
of at most (1 + u)^K, where K counts the roundings on its way: with features, g for centring k, 2 g for scaling q, 2 g for the monomials,
4 for the weight, t_n for the sum over keys (its blocks), r for the product with the state; by scores, g (d + 6) for powers of the score,
2 g for Horner, t_n for the sum. So numerator and denominator are off by at most e_i max|V| and e_i, with e_i = gamma_K m_i A_i for m_i visible keys, and for
the computed denominator D_i > 0

    |N~/D~ - N/D| <= |N~ - N|/D~ + |N/D| |D~ - D|/D~ <= 2 e_i max|V| / D_i.

gamma_K is a worst case, so it bounds any order of summation and any BLAS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem, visible_keys
from approxattn.certificate import SOFTMAX, Approximation, Certificate
from approxattn.exponential import ExpPolynomial, degree_for, exp_polynomial
from approxattn.exponential.degree import BASES, check_degree
from approxattn.monomials.contraction import chunk_length, contract, contract_causal, horner
from approxattn.monomials.index import rank
from approxattn.perturbation import output_bound, tv_from_log_ratio
from approxattn.rounding import blocked_sum_terms, gamma, up
from approxattn.score_bounds import key_centre, score_bound, value_spread

SCORE_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class Polynomial:
    """Polynomial-kernel attention.

    Parameters
    ----------
    degree : int, optional
        Degree g of the polynomial; even for basis="taylor". Give this or `tolerance`.
    tolerance : float, optional
        t in (0, 1): the degree is chosen so that |out - exact| <= t osc(V column) for every row, from a score bound that costs O(n d).
    basis : {"minimax", "taylor"}
        Least relative error on the interval of the scores, or the even Taylor polynomial, which serves any scores.

    Notes
    -----
    The interval and the centre of the keys come from all keys, so under `causal` the approximation error of a row (not the exact output)
    depends on later keys, within its bound.
    """

    degree: int | None = None
    tolerance: float | None = None
    basis: str = "minimax"

    randomised: ClassVar[bool] = False
    why_not_causal: ClassVar[str] = ""
    why_no_scale: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if (self.degree is None) == (self.tolerance is None):
            msg = f"degree(={self.degree}), tolerance(={self.tolerance}): give exactly one of them"
            raise ValueError(msg)
        if self.basis not in BASES:
            msg = f"basis(={self.basis!r}) must be one of {', '.join(BASES)}"
            raise ValueError(msg)
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            msg = f"tolerance(={self.tolerance}) must lie in (0, 1): it is a fraction of the spread of the values"
            raise ValueError(msg)
        if self.degree is not None:
            if not isinstance(self.degree, int) or isinstance(self.degree, bool):
                msg = f"degree(={self.degree!r}) must be an int"
                raise TypeError(msg)
            check_degree(self.degree, self.basis)

    def compute(self, problem: Problem, rng: np.random.Generator | None = None) -> Approximation:  # noqa: ARG002 - protocol
        """Return the output, shape (..., n_q, dv), and its certificate by T1 or T2."""
        xp = problem.xp
        keys = _centred_keys(problem)
        bound = up(score_bound(problem, keys) * (1 + 4 * problem.u))  # (..., n_q)
        polynomial = self._polynomial(bound)
        _check_range(polynomial, bound, problem)
        sums = _Plan(problem, polynomial.degree).run(keys, polynomial)  # (..., n_q, dv + 1)
        numerator, denominator = sums[..., :-1], sums[..., -1:]
        sound = denominator > 0
        value = numerator / xp.where(sound, denominator, xp.full_like(denominator, xp.nan))
        certificate = self._certificate(problem, polynomial, bound, _arrays.to_host(denominator[..., 0]))
        return Approximation(value=value, certificate=certificate)

    def _polynomial(self, bound: HostArray) -> ExpPolynomial:
        half_range = float(np.max(bound))
        degree = self.degree
        if degree is None:
            degree = degree_for(half_range, self.tolerance or 0.0, self.basis)
        return exp_polynomial(degree, half_range, self.basis)

    def _certificate(
        self, problem: Problem, polynomial: ExpPolynomial, bound: HostArray, denominator: HostArray
    ) -> Certificate:
        plan, spread, u = _Plan(problem, polynomial.degree), value_spread(problem), problem.u
        tv = tv_from_log_ratio(polynomial.log_ratio(bound))
        error = gamma(plan.roundings(), u) * visible_keys(problem) * polynomial.absolute(bound)
        safe = np.where(denominator > 0, denominator, 1.0).astype(np.float64)
        rounding = up(2 * error / safe + 8 * u) * spread.top[..., None] + _arrays.smallest_normal(problem.dtype)
        rows = np.where(denominator > 0, up(output_bound(tv, spread.osc) + rounding), np.inf)
        facts = {
            "basis": polynomial.basis,
            "degree": polynomial.degree,
            "rank": rank(problem.d, polynomial.degree),
            "evaluated by": plan.kind,
            "score bound": bound,
            "truncation, in units of osc(V)": tv,
            "rounding": rounding,
        }
        return Certificate(
            rows=rows,
            target=SOFTMAX,
            theorem="ours.even-taylor" if polynomial.basis == "taylor" else "ours.hilbert",
            facts=facts,
            unmet=self._unmet(rows, denominator, spread.osc, problem),
        )

    def _unmet(self, rows: HostArray, denominator: HostArray, osc: HostArray, problem: Problem) -> tuple[str, ...]:
        reasons = []
        lost = int(np.sum(denominator <= 0))
        if lost:
            reasons.append(
                f"{lost} denominator(s) are lost to rounding in {problem.dtype} and their rows are NaN; use float64 or a smaller scale"
            )
        if self.tolerance is not None and bool(np.any(rows > self.tolerance * osc[..., None])):
            reasons.append(
                f"tolerance {self.tolerance:g} osc(V) is not certified: rounding in {problem.dtype} takes more than what truncation leaves"
            )
        return tuple(reasons)


def _centred_keys(problem: Problem) -> Array:
    """Return keys minus their mean, shape (..., n_k, d); keys that take no part become 0."""
    centred = problem.k - key_centre(problem)
    if problem.key_mask is None:
        return centred
    return problem.xp.where(problem.key_mask[..., None], centred, problem.xp.zeros_like(centred))


def _check_range(polynomial: ExpPolynomial, bound: HostArray, problem: Problem) -> None:
    """Refuse sums that could overflow the dtype."""
    worst = float(np.max(bound))
    with np.errstate(over="ignore"):
        size = (
            float(polynomial.absolute(np.asarray(worst)))
            * problem.n_k
            * max(1.0, float(np.max(value_spread(problem).top)))
        )
    if not size < _arrays.largest(problem.dtype) / 16:
        msg = (
            f"scores are bounded by {worst:.4g}, where a polynomial of degree {polynomial.degree} summed over {problem.n_k} keys can reach "
            f"{size:.3g} and overflow {problem.dtype}: lower the degree or the scale, use float64, or use Exact()"
        )
        raise ValueError(msg)


class _Plan:
    """Features or scores, whichever costs less: both compute the same sums P(beta q k^T) [V, 1]."""

    def __init__(self, problem: Problem, degree: int) -> None:
        self.problem, self.degree = problem, degree
        m, n_q, n_k, r = problem.dv + 1, problem.n_q, problem.n_k, rank(problem.d, degree)
        by_scores = n_q * n_k * (problem.d + degree + m)
        by_features = (n_q + n_k) * r * (m + 1)
        self.kind = "features" if by_features < by_scores else "scores"

    def roundings(self) -> float:
        """Return K of the module's rounding analysis."""
        d, g, n_k = self.problem.d, self.degree, self.problem.n_k
        direct = g * (d + 6) + 2 * g + 6
        if self.kind == "scores":
            return direct + blocked_sum_terms(n_k, SCORE_BLOCK)
        own_chunk = direct if self.problem.causal else 0
        return max(5 * g + 8 + rank(d, g), own_chunk) + blocked_sum_terms(n_k, chunk_length(d, g)) + 2

    def run(self, keys: Array, polynomial: ExpPolynomial) -> Array:
        """Return P(beta q k^T) [V, 1] with the masks applied, shape (..., n_q, dv + 1)."""
        problem, xp = self.problem, self.problem.xp
        ones = xp.ones_like(problem.v[..., :1])
        values = xp.concat([problem.v, ones], axis=-1)
        if problem.key_mask is not None:
            values = xp.where(problem.key_mask[..., None], values, xp.zeros_like(values))
        balance = _balance(problem, keys)
        queries, keys = problem.q * problem.scale * balance, keys / balance
        if self.kind == "scores":
            return self._by_scores(queries, keys, values, polynomial)
        flat = [xp.reshape(x, (-1, *x.shape[-2:])) for x in (queries, keys, values)]
        sums = contract_causal if problem.causal else contract
        items = [sums(q, k, v, polynomial.coefficients, xp) for q, k, v in _items(flat)]
        return xp.reshape(xp.stack(items), (*problem.batch, problem.n_q, problem.dv + 1))

    def _by_scores(self, queries: Array, keys: Array, values: Array, polynomial: ExpPolynomial) -> Array:
        xp, problem = self.problem.xp, self.problem
        out = []
        for first in range(0, problem.n_q, SCORE_BLOCK):
            block = queries[..., first : min(first + SCORE_BLOCK, problem.n_q), :]
            stop = first + block.shape[-2] if problem.causal else problem.n_k
            total: Array | None = None
            for start in range(0, stop, SCORE_BLOCK):
                end = min(start + SCORE_BLOCK, stop)
                p = horner(xp.matmul(block, xp.matrix_transpose(keys[..., start:end, :])), polynomial.coefficients)
                if problem.causal and end > first + 1:
                    p = xp.tril(p, k=first - start)
                part = xp.matmul(p, values[..., start:end, :])
                total = part if total is None else total + part
            out.append(total)
        return xp.concat(out, axis=-2)


def _items(flat: list[Array]) -> list[tuple[Array, Array, Array]]:
    q, k, v = flat
    return [(q[i, ...], k[i, ...], v[i, ...]) for i in range(q.shape[0])]


def _balance(problem: Problem, keys: Array) -> Array:
    """Return powers of two, shape (..., 1, 1), that make queries and keys of an item equally large: no monomial overflows before its partner shrinks it."""
    q, k = (
        _arrays.to_host(problem.xp.max(problem.xp.abs(x), axis=(-2, -1))).astype(np.float64) for x in (problem.q, keys)
    )
    both = (q > 0) & (k > 0)
    ratio = np.where(both, k, 1.0) / np.where(both, q, 1.0) / problem.scale
    power = np.exp2(np.round(np.log2(ratio) / 2))[..., None, None]
    return _arrays.cast(_arrays.from_host(np.asarray(power), problem.q), problem.dtype, problem.xp)
