"""The weight of Zeng et al. 2021 beside the exponential.

Citation and letters: `collision`.

1. Both sides are tau-th powers, so tau = 1 decides.
2. In theta = arccos x the crossings lie at 0.76663 and 2.66667 (x = 0.72025 and -0.88933).
3. Near theta = 0 both are 1. There e^{cos theta - 1} >= cos theta >= 1 - theta^2/2.
4. That is at least 1 - theta/pi as long as theta <= 2/pi.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from proofs_check.papers.zeng_2021.source import CITATION
from proofs_check.statements.experiment import Enclose
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status


def _hash_weight(theta: Any) -> Any:
    from flint import arb

    return 1 - theta / arb.pi()


def _softmax_weight(theta: Any) -> Any:
    return (theta.cos() - 1).exp()


def _two_over_pi(theta: Any) -> Any:
    from flint import arb

    return 2 / arb.pi() + theta * 0


def _itself(theta: Any) -> Any:
    return theta


_NEAR, _CROSS_1, _CROSS_2 = Fraction(5, 8), Fraction(766_632, 10**6), Fraction(2_666_666, 10**6)
_WIDTH = Fraction(2, 10**6)
_MIDDLE = ((_CROSS_1 + _WIDTH, _CROSS_2),)

SHAPE = Theorem(
    key="yoso.softmax-shape",
    title="where the hash weight exceeds the exponential",
    statement=(
        "p(x) = (1 - arccos(x)/π)^τ >= exp(τ(x - 1)) for arccos x in [0.766634, 2.666666], i.e. x "
        "in [-0.88932, 0.72024], and <= outside, for every τ > 0."
    ),
    source=Source(
        citation=CITATION,
        place="comparison of the two weights on the sphere",
        fidelity="constants made explicit",
    ),
    reading=(
        "as a statement on the shape of the two weights, up to 2e-6 around their two crossings; "
        "both are 1 at x = 1"
    ),
    alternative_readings=(
        "As an approximation of exp(τ(x - 1)) with an error bound it fails: the largest gap grows "
        "with τ, 0.27 at τ = 8.",
    ),
    experiments=(
        Enclose(
            lhs=_softmax_weight,
            rhs=_hash_weight,
            box=_MIDDLE,
            covers="statement",
            scope="arccos x in [0.766634, 2.666666]: the hash weight is larger",
        ),
        Enclose(
            lhs=_itself,
            rhs=_two_over_pi,
            box=((0, _NEAR),),
            covers="statement",
            scope="arccos x in [0, 5/8]: the hash weight is smaller, as arccos x <= 2/π there",
        ),
        Enclose(
            lhs=_hash_weight,
            rhs=_softmax_weight,
            box=((_NEAR, _CROSS_1),),
            covers="statement",
            scope="arccos x in [5/8, 0.766632]: the hash weight is smaller",
        ),
        Enclose(
            lhs=_hash_weight,
            rhs=_softmax_weight,
            box=((_CROSS_2 + _WIDTH, Fraction(355, 113)),),
            covers="statement",
            scope="arccos x in [2.666668, π]: the hash weight is smaller",
        ),
    ),
    expected=Status.PROVED,
    mutant=Enclose(
        lhs=_softmax_weight,
        rhs=_hash_weight,
        box=((_NEAR, _CROSS_2),),
        covers="statement",
        scope="the hash weight larger from 5/8 on",
    ),
)

THEOREMS = (SHAPE,)
