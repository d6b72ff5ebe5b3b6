"""Growth of running time: Theil-Sen slope of log time against log size, with its interval."""

from __future__ import annotations

import math

from proofs_check.checkers.budget import Budget
from proofs_check.statements.experiment import Scale
from proofs_check.statements.verdict import Status, Verdict, inconclusive

_CONFIDENCE = 0.95
"""Of the slope's interval. *Chosen*: rank-based, so that one disturbed timing does not decide."""


# The clock is the only randomness.
def check(experiment: Scale, *, rng_seed: int, budget: Budget) -> Verdict:
    """Compare the interval of the slope with the claimed one."""
    del rng_seed
    from scipy.stats import theilslopes

    repeats = experiment.repeats * (3 if budget == "full" else 1)
    seconds = [_fastest(experiment, size, repeats) for size in experiment.sizes]
    if min(seconds) <= 0:
        return inconclusive(
            "the clock did not advance during the smallest workload: use larger sizes"
        )
    slope, _, low, high = theilslopes(
        [math.log(t) for t in seconds], [math.log(n) for n in experiment.sizes], alpha=_CONFIDENCE
    )
    facts = {
        "slope": float(slope),
        "low": float(low),
        "high": float(high),
        "seconds": seconds,
        "sizes": experiment.sizes,
    }
    claimed_low, claimed_high = experiment.slope
    scope = f"{experiment.scope}; sizes {experiment.sizes[0]} to {experiment.sizes[-1]}"
    if claimed_low <= low and high <= claimed_high:
        return Verdict(status=Status.SUPPORTED, grade="timed", scope=scope, facts=facts)
    if high < claimed_low or low > claimed_high:
        return Verdict(
            status=Status.REFUTED, grade="timed", scope=scope, witness=facts, facts=facts
        )
    note = (
        f"slope {slope:.3f} in [{low:.3f}, {high:.3f}] neither lies in nor misses "
        f"[{claimed_low:g}, {claimed_high:g}]"
    )
    return inconclusive(note, facts=facts)


def _fastest(experiment: Scale, size: int, repeats: int) -> float:
    work, best = experiment.workload(size), math.inf
    for _ in range(repeats):
        start = experiment.clock()
        work()
        best = min(best, experiment.clock() - start)
    return best
