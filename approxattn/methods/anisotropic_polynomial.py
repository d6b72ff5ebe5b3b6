"""`Polynomial(index="anisotropic")`: whether a set of monomials that follows the data pays, and its certificate."""

from __future__ import annotations

import numpy as np

from approxattn._arrays import HostArray
from approxattn._problem import Problem
from approxattn.certificate import SOFTMAX, Approximation, Certificate
from approxattn.exponential import degree_for
from approxattn.monomials.index import rank
from approxattn.perturbation import output_bound
from approxattn.polynomial.anisotropic import SplitForward, choose_split, coordinates, split_forward
from approxattn.polynomial.centring import CentredScores
from approxattn.polynomial.cost import MANY
from approxattn.rounding import up
from approxattn.score_bounds import value_spread


def anisotropic(
    problem: Problem, scores: CentredScores, tolerance: float, basis: str, fallback: bool
) -> Approximation | None:
    """Return output and certificate; None where the full set has no more monomials, or, with `fallback`, where exact attention costs less."""
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
    run = split_forward(problem, scores, found, split, "features" if pays else "scores")
    return None if run is None else Approximation(value=run.value, certificate=_certificate(run, problem, basis))


def _certificate(run: SplitForward, problem: Problem, basis: str) -> Certificate:
    facts = {
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
    rows = up(output_bound(run.tv, value_spread(problem).osc) + run.rounding)
    unmet = lost_denominators(run.lost, problem.dtype)
    return Certificate(rows=rows, target=SOFTMAX, theorem="ours.hilbert", facts=facts, unmet=unmet)


def lost_denominators(rows: HostArray, dtype: str) -> tuple[str, ...]:
    """Return the reason why some rows have no bound, if any."""
    if not np.any(rows):
        return ()
    return (
        f"{int(np.sum(rows))} denominator(s) are lost to rounding in {dtype} and their rows are NaN; use float64 or a smaller scale",
    )
