"""Which polynomials a call with a tolerance tries, and when exact attention takes their place.

1. The a-priori plan of a basis is the lowest degree whose T1 or T2 keeps the tolerance for any
   scores within their bounds (`exponential.degree_for`); no sum is needed to know that.
2. T5 often keeps it at a lower degree, but only the moments of the pass itself say so. So degrees
   below the a-priori one are foreseen from some rows (`foresight`), the first that seems to do is
   tried, and the next ones when the moments refuse.
3. What costs least comes first: the number of features grows with the degree, whatever the basis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.scores import score_bound
from approxattn.bounds.softmax import softmax_rounding
from approxattn.certificate import Approximation, Gradients
from approxattn.exponential import ExpPolynomial, degree_for, exp_polynomial, one_sided
from approxattn.exponential.given import given_polynomial
from approxattn.exponential.majorants import WIDEST
from approxattn.exponential.one_sided import MAX_DEGREE
from approxattn.exponential.taylor import MAX_DEGREE as MAX_TAYLOR
from approxattn.methods.exact import Exact
from approxattn.methods.polynomials.centring import CentredScores
from approxattn.methods.polynomials.choosing.foresight import (
    MARGIN,
    foresee,
    typical_deviation,
)
from approxattn.methods.polynomials.forward import Forward, forward
from approxattn.methods.polynomials.row_rounding import (
    Columns,
    all_within,
    columns_of,
    narrowing,
    promise,
)
from approxattn.monomials.index import rank
from approxattn.monomials.kernel import cheapest_kind
from approxattn.softmax.streaming import KEY_BLOCK

TRIES = 3
"""Passes that may be refused. *Chosen*: where degree after degree fails, sampled rows say too
little.
"""

MANY_FEATURES = 10**8
"""*Chosen*: no memory holds the states of more."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A polynomial for a call; `exact` is the reason for exact attention in its place, empty when
    there is none; `sure` says that nothing is left to be seen from the sums.
    """

    polynomial: ExpPolynomial | None
    sure: bool = True
    exact: str = ""

    def facts(self) -> dict[str, object]:
        """Return what a certificate of exact attention tells of it."""
        told: dict[str, object] = {"computed by": "exact attention", "because": self.exact}
        return told if self.polynomial is None else {**told, "degree": self.polynomial.degree}


def polynomial_for(scores: CentredScores, degree: int, basis: str) -> ExpPolynomial:
    """Return the polynomial of a degree in a basis for these scores."""
    if basis != "one-sided":
        return exp_polynomial(degree, scores.half_range, basis)
    deviation = typical_deviation(scores)  # which lets the half range cross too
    return one_sided(degree, scores.half_range, deviation)


def given_for(scores: CentredScores, coefficients: tuple[float, ...]) -> ExpPolynomial:
    """Return the polynomial with given coefficients, and what is sure of it for these scores."""
    deviation = typical_deviation(scores)
    return given_polynomial(coefficients, scores.half_range, deviation)


def plans(
    problem: Problem, scores: CentredScores, tolerance: float, basis: str | None, *, fallback: bool
) -> Iterator[Plan]:
    """Return the plans to try, one after the other, until one keeps the tolerance; the last does,
    or is exact attention (with `fallback`), or raises ValueError.
    """
    half_range, refusal = scores.half_range, ""
    degree, known = None, "minimax" if basis is None else basis
    if known != "one-sided":
        try:
            degree = degree_for(half_range, tolerance, known)
        except ValueError as error:
            refusal = str(error)
    for polynomial in _foreseen(problem, scores, tolerance, basis, degree):
        reason = _too_many(problem, polynomial.degree) if fallback else ""
        yield Plan(polynomial=polynomial, sure=False, exact=reason)
    if degree is not None:
        reason = _too_many(problem, degree) if fallback else ""
        yield Plan(polynomial=exp_polynomial(degree, half_range, known), exact=reason)
        return
    refusal = refusal or (
        f"no one-sided polynomial reaches tolerance(={tolerance:g}) for scores bounded by "
        f"{half_range:.4g}: allow a larger tolerance, scale the scores down, or use Exact()"
    )
    if not fallback:
        raise ValueError(refusal)
    yield Plan(polynomial=None, exact=refusal.partition(":")[0])


def first_kept(
    problem: Problem,
    scores: CentredScores,
    tolerance: float,
    basis: str | None,
    *,
    fallback: bool,
    keep: bool,
) -> Forward | Plan:
    """Return the sums of the first plan whose moments say that the tolerance is kept, or the plan
    that names exact attention; `keep` what the gradient can use.
    """
    for plan in plans(problem, scores, tolerance, basis, fallback=fallback):
        if plan.exact or plan.polynomial is None:
            return plan
        run = forward(problem, scores, plan.polynomial, keep=keep)
        if plan.sure or keeps(tolerance, run):
            return run
    msg = f"no plan for tolerance(={tolerance}): use Exact()"
    raise ValueError(msg)


def _foreseen(
    problem: Problem,
    scores: CentredScores,
    tolerance: float,
    basis: str | None,
    degree: int | None,
) -> Iterator[ExpPolynomial]:
    """Return polynomials below a degree, from the first that is foreseen to keep the tolerance."""
    half_range = scores.half_range
    if basis in ("minimax", "chebyshev") or not half_range <= WIDEST:
        return
    step, most = (2, MAX_TAYLOR) if basis == "taylor" else (1, MAX_DEGREE)
    end = most + 1 if degree is None else min(degree, most + 1)
    if end <= 1:
        return
    seen, tried = foresee(problem, scores), 0
    for g in range(step, end, step):
        if rank(problem.d, g) > MANY_FEATURES or tried == TRIES:
            return
        for polynomial in _of_degree(g, half_range, basis, seen.deviation):
            if tried or MARGIN * seen.largest_error(polynomial) <= tolerance:
                tried += 1
                yield polynomial
                break


def _of_degree(
    degree: int, half_range: float, basis: str | None, deviation: float
) -> Iterator[ExpPolynomial]:
    """Return the polynomials of a degree that T5 speaks of: Taylor's is the better one for rows of
    very different spread.
    """
    if basis in (None, "one-sided"):
        yield one_sided(degree, half_range, deviation)
    if basis in (None, "taylor") and degree % 2 == 0:
        yield exp_polynomial(degree, half_range, "taylor")


def keeps(tolerance: float, run: Forward) -> bool:
    """Tell whether the sums kept the tolerance, or rounding alone breaks it, against which no
    higher degree helps.
    """
    problem = run.problem
    columns = columns_of(problem)
    for tv in (run.tv, np.zeros_like(run.tv)):
        if bool(np.all(all_within(tolerance, columns, tv, run.row_rounding, problem))):
            return tv is run.tv
    return True


def _too_many(problem: Problem, degree: int) -> str:
    """Return why exact attention is the better choice, if it is."""
    kind = cheapest_kind(problem.n_q, problem.n_k, problem.d, degree, problem.dv + 1)
    if kind == "features":
        return ""
    features = rank(problem.d, degree)
    shape = f"{problem.n_q} queries and {problem.n_k} keys"
    return f"the {features} features of degree {degree} cost more for {shape}"


def exact_output(problem: Problem, plan: Plan, tolerance: float) -> Approximation:
    """Return exact attention, with the reason for it and what the tolerance promised."""
    exact = Exact().compute(problem)
    rows, columns = exact.certificate.rows, columns_of(problem)
    within = np.max(rows, axis=-1, initial=0.0) <= tolerance * columns.narrowest()
    if not np.all(within) or problem.out_dtype != problem.dtype:
        within = _columns_within(problem, columns, tolerance)
    certificate = replace(
        exact.certificate,
        facts={**plan.facts(), **exact.certificate.facts},
        promised=promise(tolerance, columns, rows, within, problem),
    )
    return replace(exact, certificate=certificate)


def _columns_within(problem: Problem, columns: Columns, tolerance: float) -> HostArray:
    """Tell for which leading indices exact attention keeps the tolerance in every column."""
    within = np.ones(problem.batch, bool)
    for c in range(problem.dv):
        column = replace(problem, v=problem.v[..., c : c + 1])
        rows = softmax_rounding(column, score_bound(problem), KEY_BLOCK)
        bound, size = np.max(rows, axis=-1, initial=0.0), columns.sizes[..., c]
        bound = bound + narrowing(bound + size, problem)
        within &= (bound <= tolerance * columns.widths[..., c]) | (size == 0)
    return within


def exact_gradient(problem: Problem, plan: Plan, dout: Array) -> Gradients:
    """Return the gradient of exact attention, with the reason for it."""
    exact = Exact().vjp(problem, dout)
    facts = {**plan.facts(), **exact.certificate.facts}
    return replace(exact, certificate=replace(exact.certificate, facts=facts))
