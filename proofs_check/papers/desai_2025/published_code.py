"""vAttention (Desai et al. 2025): what the published code does with its samples.

Read: `adaptive_sampling.py` and the masks that it fills. R residual keys have weights w_j with the
sum S; b places are drawn with repetition.

1. The quantile of the budget is Phi^-1(1 - delta). A normal error leaves it on either side with
   probability 2 delta.
2. Draws are written to a mask, where a place that is drawn twice stands once, with the inclusion
   probability b / R. So the estimate is (R / b) times the sum over the places that were drawn, each
   once: its mean is S (R / b) (1 - (1 - 1/R)^b), about S (1 - b / (2 R)), and S (1 - 1/e) for b = R
   large.
3. The budget is that of the denominator. Equal weights have no variance, so that any number of
   samples is enough for it, whatever the values are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from proofs_check.arithmetic.balls import ball
from proofs_check.papers.desai_2025.source import coded
from proofs_check.papers.shared.source import here
from proofs_check.statements.experiment import Comparison, Enclose, Identity, Symbolic
from proofs_check.statements.theorem import ByHand, Theorem
from proofs_check.statements.verdict import Status

_ONE = Fraction(1)

# --- the quantile ---------------------------------------------------------------------------------


def _one_sided(_bits: int, part: Fraction = _ONE) -> Iterator[Comparison]:
    """Miss of a normal error at the quantile z, whose delta is erfc(z / sqrt 2) / 2."""
    for z in (Fraction(1, 2), Fraction(329, 200), Fraction(3)):
        missed = (ball(z) / ball(2).sqrt()).erfc()
        yield Comparison(missed, ball(part) * missed / 2, f"quantile {z}")


QUANTILE = Theorem(
    key="vattention.code-quantile",
    title="the quantile of the published budget",
    statement=(
        "A normal error whose standard deviation is τ/Φ^-1(1 - δ) exceeds τ in size with "
        "probability δ at most."
    ),
    source=coded("adaptive_sampling.py: delta_ppf = norm.ppf(1 - delta)"),
    reading="the best case for the budget: sums that are normal, with known variance and value",
    experiments=(
        Enclose(
            certify=_one_sided,
            covers="statement",
            scope="quantiles 0.5, 1.645 and 3, each with its own δ",
        ),
    ),
    expected=Status.REFUTED,
    kind="code",
    mutant=Enclose(
        certify=partial(_one_sided, part=Fraction(19, 10)),
        covers="statement",
        scope="1.9 δ: it is 2 δ for each of them",
    ),
    by_hand=ByHand(
        instance="δ = 0.05, a normal error of standard deviation 1.",
        shows="The code takes 1.645, and the error exceeds that in size with probability 0.1.",
        instead="Φ^-1(1 - δ/2), 1.96 at δ = 0.05, as the authors' page has it.",
    ),
    defence=(
        "One-sided, the quantile is right: the denominator is too small, or too large, with "
        "probability δ each. The guarantee of the page is on the size of the error."
    ),
)

# --- places that are drawn twice ------------------------------------------------------------------


def _once(weights: Sequence[Any], drawn: Sequence[int]) -> Any:
    return sum((weights[j] for j in sorted(set(drawn))), 0 * weights[0])


def _mean_of_masks(_bits: int) -> Iterator[Comparison]:
    for weights, b in (((1, 1, 1), 3), ((1, 2, 5), 2), ((3, 1, 1, 2), 3)):
        size = len(weights)
        exact = [Fraction(w) for w in weights]
        outcomes = list(itertools.product(range(size), repeat=b))
        total = sum((_once(exact, drawn) for drawn in outcomes), Fraction(0))
        mean = Fraction(size, b) * total / len(outcomes)
        yield Comparison(mean, sum(exact, Fraction(0)), f"weights {weights}, b = {b}")


def _coded_mean(multiple: bool, more: int = 0) -> Iterator[Identity]:
    """Step 2 for free weights, places once or as often as drawn."""
    from sympy import QQ, ring

    for size, b in ((2, 2), (3, 2), (3, 3), (4, 3)):
        r, *w = ring([f"w{j}" for j in range(size)], QQ)
        outcomes = list(itertools.product(range(size), repeat=b))
        sums = [
            sum((w[j] for j in drawn), r.zero) if multiple else _once(w, drawn)
            for drawn in outcomes
        ]
        mean = QQ(size, b) * sum(sums, r.zero) / len(outcomes)
        share = QQ(1) if multiple else QQ(size, b) * (1 - (1 - QQ(1, size)) ** (b + more))
        yield Identity(mean, share * sum(w, r.zero), f"{size} keys, {b} draws")


def _means(more: int = 0) -> Iterator[Identity]:
    yield from _coded_mean(multiple=True)
    yield from _coded_mean(multiple=False, more=more)


DUPLICATES = Theorem(
    key="vattention.code-duplicates",
    title="the mean of the published estimate of the residual",
    statement="The estimated sum of the residual weights has the mean S.",
    source=coded("mask_attention_utils.py, mask.py: draws with repetition, written to a mask"),
    reading="exact arithmetic; each place drawn counts once, at the inclusion probability b/R",
    experiments=(
        Enclose(
            certify=_mean_of_masks,
            relation="=",
            covers="statement",
            scope="3 or 4 keys, 2 or 3 draws, every outcome",
        ),
    ),
    expected=Status.REFUTED,
    kind="code",
    mutant=Enclose(
        certify=_mean_of_masks,
        relation="=",
        radius=Fraction(1, 4),
        covers="statement",
        scope="S up to 1/4",
    ),
    repaired_by="vattention.mean-of-estimate",
    by_hand=ByHand(
        instance="three residual keys of weight 1, three draws.",
        shows=(
            "The mean number of different keys among them is 3 (1 - (2/3)^3) = 2.111, each counts "
            "R/b = 1, and S is 3."
        ),
    ),
    defence=(
        "The code says beside it that sampling with repetition makes its probabilities incorrect. "
        "The share lost is b/(2R) to first order: 2.5 % where a twentieth of the keys is drawn."
    ),
)

MEAN = Theorem(
    key="vattention.mean-of-estimate",
    title="the mean of an estimated residual",
    statement=(
        "If each key counts R/b as often as it is drawn, the estimate has the mean S. If it counts "
        "once, the mean is S (R/b)(1 - (1 - 1/R)^b)."
    ),
    source=here(__name__),
    reading="b independent uniform draws of R keys; the same of numerators",
    experiments=(
        Symbolic(
            identities=_means,
            covers="statement",
            scope="2 to 4 keys, 2 or 3 draws, all weights, every outcome",
        ),
    ),
    expected=Status.PROVED,
    mutant=Symbolic(
        identities=partial(_means, more=1), covers="statement", scope="one draw more in the power"
    ),
)

# --- from the denominator to the output -----------------------------------------------------------


def _output_misses(_bits: int, part: Fraction = _ONE) -> Iterator[Comparison]:
    """Two keys of weight 1 with the values 1 and 3, two draws: the denominator is never off, and
    the output by more than `part` of 49/100 of itself oftener than with probability 1/100.
    """
    values = (1, 3)
    outcomes = list(itertools.product(range(2), repeat=2))
    outputs = [Fraction(sum(values[j] for j in drawn), len(drawn)) for drawn in outcomes]
    far = sum(abs(out - 2) > part * Fraction(49, 100) * 2 for out in outputs)
    denominators = [Fraction(2, len(drawn)) * len(drawn) for drawn in outcomes]
    for d in denominators:
        yield Comparison(abs(d - 2), 0, "the denominator")
    yield Comparison(Fraction(far, len(outcomes)), Fraction(1, 100), "the output, delta = 1/100")


DENOMINATOR = Theorem(
    key="vattention.denominator-only",
    title="from a denominator within ε to an output within ε",
    statement=(
        "If b draws estimate the denominator to a relative error of ε with probability 1 - δ, they "
        "estimate the output so."
    ),
    source=coded("adaptive_sampling.py: the budget is that of the denominator"),
    reading="a guarantee of the output needs the budget of the numerator as well",
    experiments=(
        Enclose(
            certify=_output_misses,
            covers="statement",
            scope="two keys of equal weight, values 1 and 3, two draws, δ = 0.01, every outcome",
        ),
    ),
    expected=Status.REFUTED,
    kind="implied",
    mutant=Enclose(
        certify=partial(_output_misses, part=Fraction(1, 2)),
        covers="statement",
        scope="half of that error",
    ),
    by_hand=ByHand(
        instance="two residual keys of weight 1, values 1 and 3, two draws.",
        shows=(
            "The denominator is 2 always, exactly. The output is 1, 2, 2 or 3 in the place of 2: "
            "off by half of itself with probability 0.5."
        ),
        instead=(
            "The page combines the budgets of numerator and denominator; the code has that of the "
            "denominator alone."
        ),
    ),
)

THEOREMS = (QUANTILE, DUPLICATES, MEAN, DENOMINATOR)
