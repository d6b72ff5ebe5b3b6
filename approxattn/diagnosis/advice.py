"""The sentences that follow from a diagnosis."""

from __future__ import annotations

import math

from approxattn.diagnosis.comparison import Trial, pareto
from approxattn.diagnosis.polynomial_needs import Need, count


def measured_advice(trials: tuple[Trial, ...]) -> str:
    """Return what the measured errors say: the best method within each error, or that none beats a
    mean.
    """
    best = pareto(trials)
    if all(t.method is None for t in trials):
        return "No other method takes this problem at such a cost, so none was measured."
    if not best:
        return (
            "Of the methods tried at up to half the cost of exact attention none beats the mean of "
            "v."
        )
    last = best[-1]
    good = next((t for t in best if t.error <= 0.1), None)
    found = (
        f"of the methods tried {last.name} has the least error, {last.error:.2g}, at "
        f"{last.cost:.2g} of the cost"
    )
    if good is None:
        return (
            f"Measured: {found}; none within half the cost comes below 0.1, so take Exact() where "
            "that matters."
        )
    return (
        f"Measured: {good.name} comes within {good.error:.2g} at {good.cost:.2g} of the cost; "
        f"{found}."
    )


def advice(needs: tuple[Need, ...], bound: float, share: float, refused: str = "") -> str:
    """Return the sentence, given the median share of effective among visible keys, and why there is
    no polynomial where there is none.

    Total variation from uniform weights over n keys: (1/2) sum |p_j - 1/n| <= (1/2) sqrt(n |p|^2 -
    1), by Cauchy-Schwarz.
    """
    first = _of_polynomials(needs, bound)
    if refused:
        first = f"Use Exact(): {refused.removesuffix('; use Exact()')}"
    if share <= 1 / 8:
        few = f"{first}; half of the rows attend to {100 * share:.2g} % of their keys or fewer"
        return (
            f"{few}."
            if refused
            else f"{few}, so a method that looks for these has something to find."
        )
    if share >= 0.8:
        return (
            f"{first}; half of the rows are within total variation "
            f"{math.sqrt(1 / share - 1) / 2:.2g} of a plain mean of v."
        )
    return (
        f"{first}; the median row attends to {100 * share:.2g} % of its keys, too many to pick "
        "and too few to average."
    )


def _of_polynomials(needs: tuple[Need, ...], bound: float) -> str:
    """Return what the polynomial method needs for a tolerance of 0.01."""
    within = [
        need
        for need in needs
        if need.tolerance == 1e-2 and need.scores != "measured" and need.rank is not None
    ]
    # what a tolerance takes without a basis before taylor
    best = min(within, key=lambda need: (need.rank, need.basis == "taylor"), default=None)
    if best is None:
        return (
            f"Use Exact(): scores may reach {bound:.3g}, out of reach of any polynomial in float64"
        )
    if best.pays:
        return (
            f"Polynomial(tolerance=0.01) needs degree {best.degree}, {best.rank} features, "
            f"and {best.cost:.2g} of the multiply-adds of exact attention"
        )
    return (
        f"Use Exact(): with scores up to {bound:.3g}, tolerance 0.01 takes degree "
        f"{best.degree}, {count(best.rank)} features, which cost less only from "
        f"{count(best.break_even)} tokens on"
    )
