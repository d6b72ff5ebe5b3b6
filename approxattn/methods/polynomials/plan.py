"""Which polynomial a call takes, and when exact attention takes its place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.scores import score_bound
from approxattn.bounds.softmax import softmax_rounding
from approxattn.certificate import Approximation, Gradients
from approxattn.exponential import ExpPolynomial, degree_for, exp_polynomial
from approxattn.methods.exact import Exact
from approxattn.methods.polynomials.row_rounding import Columns, columns_of, narrowing, promise
from approxattn.monomials.index import rank
from approxattn.monomials.kernel import cheapest_kind
from approxattn.softmax.streaming import KEY_BLOCK


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The polynomial of a call; `exact` is the reason for exact attention in its place, empty when
    there is none.
    """

    half_range: float
    degree: int | None
    exact: str = ""

    def polynomial(self, basis: str) -> ExpPolynomial:
        """Return it."""
        return exp_polynomial(self.degree or 0, self.half_range, basis)

    def facts(self) -> dict[str, object]:
        """Return what a certificate of exact attention tells of it."""
        told: dict[str, object] = {"computed by": "exact attention", "because": self.exact}
        return told if self.degree is None else {**told, "degree": self.degree}


def plan_for(
    problem: Problem, half_range: float, tolerance: float, basis: str, *, fallback: bool
) -> Plan:
    """Choose the degree for a tolerance, or, with `fallback`, exact attention."""
    try:
        degree = degree_for(half_range, tolerance, basis)
    except ValueError as error:
        if not fallback:
            raise
        return Plan(half_range=half_range, degree=None, exact=str(error).partition(":")[0])
    kind = cheapest_kind(problem.n_q, problem.n_k, problem.d, degree, problem.dv + 1)
    reason = ""
    if fallback and kind == "scores":
        features = rank(problem.d, degree)
        shape = f"{problem.n_q} queries and {problem.n_k} keys"
        reason = f"the {features} features of degree {degree} cost more for {shape}"
    return Plan(half_range=half_range, degree=degree, exact=reason)


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
