"""Our own statement about an audit: what s recomputed rows say about all N.

Nothing here is a quotation.

Let x_(1) <= ... <= x_(s) be the errors of s rows drawn from N without repetition, 0 < f <= 1 and
M = ceil(f N) - 1.

1. If fewer than f N rows err by at most x_(r), those rows number at most M. The sample holds r of
   them.
2. They are among the M rows of smallest error (ties broken anyhow, small ones first).
3. So the event implies H >= r, H the hypergeometric number of drawn rows among M marked ones.
4. Pr[H = s] = prod (M - i)/(N - i) <= (M/N)^s <= f^s.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial

from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Comparison, Enclose
from proofs_check.statements.theorem import Theorem
from proofs_check.statements.verdict import Status


def _hypergeometric_tail(total: int, marked: int, drawn: int, least: int) -> Fraction:
    ways = sum(
        math.comb(marked, h) * math.comb(total - marked, drawn - h) for h in range(least, drawn + 1)
    )
    return Fraction(ways, math.comb(total, drawn))


def _tied_errors(total: int) -> Iterator[tuple[int, ...]]:
    """All ways in which `total` sorted errors can be tied."""
    for steps in itertools.product((0, 1), repeat=total - 1):
        yield tuple(itertools.accumulate((0, *steps)))


def _miss(
    errors: Sequence[int], samples: Sequence[Sequence[int]], r: int, fraction: Fraction
) -> Fraction:
    """Pr[fewer than fraction * N rows err by at most the r-th smallest sampled error]."""
    missed = 0
    for rows in samples:
        threshold = sorted(errors[i] for i in rows)[r - 1]
        missed += sum(e <= threshold for e in errors) < fraction * len(errors)
    return Fraction(missed, len(samples))


# Rationals need no precision.
def _audits(_bits: int, extra: int = 0) -> list[Comparison]:
    comparisons = []
    fractions = (Fraction(1, 5), Fraction(1, 2), Fraction(2, 3), Fraction(9, 10), Fraction(1))
    for total in (1, 2, 3, 5):
        for errors, s, f in itertools.product(_tied_errors(total), range(1, total + 1), fractions):
            samples, label = (
                list(itertools.combinations(range(total), s)),
                f"errors {errors}, {s} rows, fraction {f}",
            )
            marked = math.ceil(f * total) - 1
            for r in range(1, s + 1):
                bound = _hypergeometric_tail(total, marked, s, r)
                comparisons.append(
                    Comparison(_miss(errors, samples, r, f), bound, f"{label}, order {r}")
                )
            comparisons.append(
                Comparison(_miss(errors, samples, s, f), f ** (s + extra), f"{label}, largest")
            )
            if s <= 3:
                repeated = list(itertools.product(range(total), repeat=s))
                comparisons.append(
                    Comparison(
                        _miss(errors, repeated, s, f), f ** (s + extra), f"{label}, with repetition"
                    )
                )
    return comparisons


AUDIT = Theorem(
    key="ours.audit-binomial",
    title="what s recomputed rows say about all N",
    statement=(
        "With confidence c, at most a fraction 1 - (1 - c)^(1/s) of the rows err by more than the "
        "largest of s sampled errors; generally at least f N rows err by at most the r-th "
        "smallest, with probability >= 1 - Pr[H >= r], H hypergeometric (s of N, ⌈f N⌉ - 1 "
        "marked)."
    ),
    source=here(__name__, how="order statistics of a finite population"),
    reading=(
        "rows drawn uniformly, without repetition; the first statement also with repetition; "
        "errors may be tied"
    ),
    experiments=(
        Enclose(
            certify=_audits,
            covers="statement",
            scope=(
                "all populations of 1, 2, 3 and 5 rows with all ties, all sample sizes, every "
                "order r, five fractions f, all samples enumerated"
            ),
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        certify=partial(_audits, extra=1),
        covers="statement",
        scope="as if one more row had been sampled",
    ),
)

THEOREMS = (AUDIT,)
