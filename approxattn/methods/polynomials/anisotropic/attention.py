"""`Polynomial(index="anisotropic")`: whether a set of monomials that follows the data pays, its
output and its gradients, each with its certificate.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn.bounds.perturbation import output_bound
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import value_spread
from approxattn.certificate import SOFTMAX, Approximation, Certificate, Gradients
from approxattn.exponential import degree_for
from approxattn.methods.polynomials.anisotropic.coordinates import coordinates_of
from approxattn.methods.polynomials.anisotropic.gradient import split_gradient
from approxattn.methods.polynomials.anisotropic.gradient_error import split_gradient_bounds
from approxattn.methods.polynomials.anisotropic.split_choice import Split, choose_split
from approxattn.methods.polynomials.anisotropic.sums import (
    SplitForward,
    largest_sum,
    split_forward,
    split_kernel,
)
from approxattn.methods.polynomials.centring import CentredScores
from approxattn.methods.polynomials.row_rounding import (
    all_within,
    columns_of,
    lost_denominators,
    promise,
)
from approxattn.monomials.index import MANY, rank


def anisotropic(
    problem: Problem, scores: CentredScores, tolerance: float, basis: str, fallback: bool
) -> SplitForward | None:
    """Return the sums; None where the full set has no more monomials, where sums over the set could
    overflow the dtype, or, with `fallback`, where exact attention costs less.
    """
    coordinates = coordinates_of(problem, scores)
    if coordinates is None:
        return None
    try:
        most = rank(problem.d, degree_for(float(np.max(scores.bound)), tolerance, basis))
    except ValueError:  # no full set reaches the tolerance
        most = MANY
    split = choose_split(problem, coordinates, tolerance, basis, most)
    if split is None:
        return None
    pays = _pays(problem, split)
    kernel = split_kernel(problem, split, "features" if pays else "scores")
    fits = largest_sum(problem, coordinates, kernel) <= _arrays.largest(problem.dtype) / 16
    if not fits or (fallback and not pays):
        return None
    return split_forward(problem, scores, coordinates, split, kernel)


def _pays(problem: Problem, split: Split) -> bool:
    """Tell whether sums over features cost less than sums over scores."""
    n_q, n_k, m = problem.n_q, problem.n_k, problem.dv + 1
    by_features = (n_q + n_k) * split.rank * (m + 1)
    return by_features < n_q * n_k * (problem.d + split.degrees[0] + m)


def anisotropic_output(run: SplitForward, basis: str, tolerance: float) -> Approximation:
    """Return output and certificate."""
    problem = run.problem
    rows = up(output_bound(run.tv, value_spread(problem).osc) + run.rounding)
    columns = columns_of(problem)
    within = all_within(tolerance, columns, run.tv, run.row_rounding, problem)
    certificate = Certificate(
        rows=rows,
        target=SOFTMAX,
        theorem="ours.hilbert",
        facts=_facts(run, basis),
        unmet=lost_denominators(run.lost, problem.dtype),
        promised=promise(tolerance, columns, rows, within, problem),
    )
    return Approximation(value=run.value, certificate=certificate)


def anisotropic_gradient(run: SplitForward, dout: Array, basis: str, kind: str) -> Gradients:
    """Return dq, dk, dv of a kind for the cotangent dout, and their certificate."""
    dq, dk, dv = split_gradient(run, dout, kind)
    certificate = split_gradient_bounds(run, dout, kind).certificate(
        facts={"gradient": kind, **_facts(run, basis)},
        unmet=lost_denominators(run.lost, run.problem.dtype),
    )
    return Gradients(dq=dq, dk=dk, dv=dv, certificate=certificate)


def _facts(run: SplitForward, basis: str) -> dict[str, object]:
    return {
        "basis": basis,
        "index": "anisotropic",
        "directions of high degree": run.split.head,
        "degrees": run.split.degrees,
        "rank": run.split.rank,
        "evaluated by": run.kernel.kind,
        "score bound": up(run.split.heads + run.split.tails),
        "truncation, in units of osc(V)": run.tv,
        "rounding": run.rounding,
    }
