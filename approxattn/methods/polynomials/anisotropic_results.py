"""`Polynomial(index="anisotropic")`: whether a set of monomials that follows the data pays, and its
certificate.
"""

from __future__ import annotations

import numpy as np

from approxattn._arrays import Array, HostArray
from approxattn._problem import Problem
from approxattn.bounds.perturbation import output_bound
from approxattn.bounds.rounding import up
from approxattn.bounds.scores import value_spread
from approxattn.certificate import (
    SOFTMAX,
    SOFTMAX_GRADIENT,
    Approximation,
    Certificate,
    GradientCertificate,
    Gradients,
)
from approxattn.exponential import degree_for
from approxattn.methods.polynomials.anisotropic import SplitForward, choose_split, split_forward
from approxattn.methods.polynomials.anisotropic_gradient import (
    split_gradient,
    split_gradient_bounds,
)
from approxattn.methods.polynomials.centring import CentredScores
from approxattn.methods.polynomials.coordinates import coordinates
from approxattn.monomials.index import MANY, rank


def anisotropic(
    problem: Problem, scores: CentredScores, tolerance: float, basis: str, fallback: bool
) -> SplitForward | None:
    """Return the sums; None where the full set has no more monomials, or, with `fallback`, where
    exact attention costs less.
    """
    found = coordinates(problem, scores)
    if found is None:
        return None
    try:
        most = rank(problem.d, degree_for(float(np.max(scores.bound)), tolerance, basis))
    except ValueError:  # no full set reaches the tolerance
        most = MANY
    split = choose_split(problem, found, tolerance, basis, most)
    if split is None:
        return None
    n_q, n_k, m = problem.n_q, problem.n_k, problem.dv + 1
    pays = (n_q + n_k) * split.rank * (m + 1) < n_q * n_k * (problem.d + split.degrees[0] + m)
    if fallback and not pays:
        return None
    return split_forward(problem, scores, found, split, "features" if pays else "scores")


def anisotropic_output(run: SplitForward, basis: str) -> Approximation:
    """Return output and certificate."""
    rows = up(output_bound(run.tv, value_spread(run.problem).osc) + run.rounding)
    unmet = lost_denominators(run.lost, run.problem.dtype)
    certificate = Certificate(
        rows=rows, target=SOFTMAX, theorem="ours.hilbert", facts=_facts(run, basis), unmet=unmet
    )
    return Approximation(value=run.value, certificate=certificate)


def anisotropic_gradient(run: SplitForward, dout: Array, basis: str, kind: str) -> Gradients:
    """Return dq, dk, dv of a kind for the cotangent dout, and their certificate."""
    dq, dk, dv = split_gradient(run, dout, kind)
    bounds = split_gradient_bounds(run, dout, kind)
    certificate = GradientCertificate(
        dq=bounds.dq,
        dk=np.broadcast_to(bounds.dk, (*run.problem.batch, run.problem.n_k)),
        dv=np.broadcast_to(bounds.dv, (*run.problem.batch, run.problem.n_k)),
        target=SOFTMAX_GRADIENT,
        theorem="ours.gradient",
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


def lost_denominators(rows: HostArray, dtype: str) -> tuple[str, ...]:
    """Return the reason why some rows have no bound, if any."""
    if not np.any(rows):
        return ()
    return (
        f"{int(np.sum(rows))} denominator(s) are lost to rounding in {dtype} and their rows are "
        "NaN; use float64 or a smaller scale",
    )
