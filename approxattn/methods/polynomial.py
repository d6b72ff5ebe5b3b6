"""Attention with exp replaced by a polynomial: linear in n, with an a-priori bound for every row.

Alman & Song (2023, 2024) and Liang et al. (2024) replace A = exp(beta Q K^T) by P(beta Q K^T), whose rank is C(d + g, g). Here the keys are first
centred (exact: it shifts each row of scores by a constant), and P is either the even Taylor polynomial, whose ratio to exp is known for any
score (T2), or the polynomial of least relative error on the interval in which the scores lie (T1).

Rounding (proved here). Let A_i = sum_t |c_t| B_i^t with B_i >= beta |q_i||k_j|. Every term of a computed sum is off by at most gamma_K A_i, where K counts the
roundings on its way: those of `monomials.kernel`, and for each of g factors of a monomial one of centring k and two of scaling q. So
numerator and denominator are off by at most e_i max|V| and e_i, with e_i = gamma_K m_i A_i for m_i visible keys, and for the computed D~_i > 0

    |N~/D~ - N/D| <= |N~ - N|/D~ + |N/D| |D~ - D|/D~ <= 2 e_i max|V| / D~_i.

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
from approxattn.monomials.index import rank
from approxattn.monomials.kernel import Kernel, cheapest_kind, sum_roundings
from approxattn.perturbation import output_bound, tv_from_log_ratio
from approxattn.rounding import gamma, up
from approxattn.score_bounds import key_centre, score_bound, value_spread


@dataclass(frozen=True, kw_only=True)
class Polynomial:
    """Polynomial-kernel attention.

    Parameters
    ----------
    degree : int, optional
        Degree g of the polynomial; even for basis="taylor". Give this or `tolerance`.
    tolerance : float, optional
        t in (0, 1): the degree is chosen so that ``|out - exact| <= t osc(V column)`` for every row, from a score bound that costs O(n d).
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
        kernel = _kernel(problem, polynomial.coefficients)
        balance = _balance(problem, keys)
        sums = kernel.sums(problem.q * problem.scale * balance, keys / balance, _values_and_one(problem))
        numerator, denominator = sums[..., :-1], sums[..., -1:]  # (..., n_q, dv), (..., n_q, 1)
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
        spread, u, degree = value_spread(problem), problem.u, polynomial.degree
        kind = _kernel(problem, polynomial.coefficients).kind
        roundings = sum_roundings(kind, problem.n_k, problem.d, degree, problem.causal) + 3 * degree
        tv = tv_from_log_ratio(polynomial.log_ratio(bound))
        error = gamma(roundings, u) * visible_keys(problem) * polynomial.absolute(bound)
        safe = np.where(denominator > 0, denominator, 1.0).astype(np.float64)
        rounding = up(2 * error / safe + 8 * u) * spread.top[..., None] + _arrays.smallest_normal(problem.dtype)
        rows = np.where(denominator > 0, up(output_bound(tv, spread.osc) + rounding), np.inf)
        facts = {
            "basis": polynomial.basis,
            "degree": degree,
            "rank": rank(problem.d, degree),
            "evaluated by": kind,
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


def _values_and_one(problem: Problem) -> Array:
    """Return [V, 1], shape (..., n_k, dv + 1): numerator and denominator in one sum; rows of keys that take no part are 0."""
    xp = problem.xp
    values = xp.concat([problem.v, xp.ones_like(problem.v[..., :1])], axis=-1)
    if problem.key_mask is None:
        return values
    return xp.where(problem.key_mask[..., None], values, xp.zeros_like(values))


def _kernel(problem: Problem, coefficients: tuple[float, ...]) -> Kernel:
    kind = cheapest_kind(problem.n_q, problem.n_k, problem.d, len(coefficients) - 1, problem.dv + 1)
    return Kernel(coefficients=coefficients, causal=problem.causal, kind=kind, xp=problem.xp)


def _balance(problem: Problem, keys: Array) -> Array:
    """Return powers of two, shape (..., 1, 1), that make queries and keys of an item equally large: no monomial overflows before its partner shrinks it."""
    q, k = (
        _arrays.to_host(problem.xp.max(problem.xp.abs(x), axis=(-2, -1))).astype(np.float64) for x in (problem.q, keys)
    )
    both = (q > 0) & (k > 0)
    ratio = np.where(both, k, 1.0) / np.where(both, q, 1.0) / problem.scale
    power = np.exp2(np.round(np.log2(ratio) / 2))[..., None, None]
    return _arrays.cast(_arrays.from_host(np.asarray(power), problem.q), problem.dtype, problem.xp)
