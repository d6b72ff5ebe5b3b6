"""The certificate of an output by a polynomial, and what it says about the pass."""

from __future__ import annotations

import numpy as np

from approxattn._arrays import HostArray
from approxattn.bounds.rounding import times, up
from approxattn.bounds.scores import value_spread
from approxattn.certificate import SOFTMAX, Certificate
from approxattn.methods.polynomials.forward import Forward
from approxattn.methods.polynomials.row_rounding import (
    all_within,
    columns_of,
    lost_denominators,
    promise,
)
from approxattn.monomials.index import rank


def output_certificate(run: Forward, tolerance: float | None = None) -> Certificate:
    """Return the certificate of the output, with what `tolerance` promised of it."""
    problem, rounding = run.problem, run.output_rounding
    tv = run.tv
    rows = up(times(tv, value_spread(problem).osc[..., None]) + rounding)
    promised = None
    if tolerance is not None:
        columns = columns_of(problem)
        within = all_within(tolerance, columns, tv, run.row_rounding, problem)
        promised = promise(tolerance, columns, rows, within, problem)
    return Certificate(
        rows=rows,
        target=SOFTMAX,
        theorem=run.theorem,
        facts={**facts_of(run), "truncation, in units of osc(V)": tv, "rounding": rounding},
        unmet=unmet_of(run),
        promised=promised,
    )


def _share(flags: HostArray) -> str:
    """Say where something holds: yes, no, or for how many leading indices."""
    if flags.all():
        return "yes"
    return f"{int(flags.sum())} of {flags.size}" if flags.any() else "no"


def unmet_of(run: Forward) -> tuple[str, ...]:
    """Return why some rows have no bound, if any."""
    lost = lost_denominators(run.lost, run.problem.dtype)
    unknown = int(np.sum(~np.isfinite(run.tv) & ~run.lost))
    if not unknown:
        return lost
    return (
        *lost,
        f"{unknown} row(s): the polynomial is not known to be positive for scores up to "
        f"{run.scores.half_range:.4g}, and their moments do not bound its error; use a smaller "
        "scale, basis='taylor', or other coefficients",
    )


def facts_of(run: Forward) -> dict[str, object]:
    """Return the facts of a certificate that outputs and gradients share."""
    degree = run.polynomial.degree
    return {
        "basis": run.polynomial.basis,
        "degree": degree,
        "rank": rank(run.problem.d, degree),
        "evaluated by": run.kernel.kind,
        "score bound": run.scores.bound,
        "queries centred": _share(run.scores.centred),
    }
