"""Ball arithmetic decides on a box or abstains; what rounding could have done is no proof."""

from __future__ import annotations

from fractions import Fraction

from flint import arb

from proofs_check import (
    Comparison,
    Enclose,
    Status,
)
from proofs_check.checkers import check


def _bernoulli(constant: int) -> Enclose:
    """1 + x + x^2/constant <= e^x on [1/16, 2]: true for 2, false for 1."""
    return Enclose(
        lhs=lambda x: 1 + x + x * x / constant,
        rhs=lambda x: x.exp(),
        box=((Fraction(1, 16), 2),),
        covers="statement",
        scope="x in [1/16, 2]",
    )


def test_enclose_covers_a_box() -> None:
    verdict = check(_bernoulli(2))
    assert (verdict.status, verdict.grade) == (Status.PROVED, "ball")
    assert verdict.tightness is not None
    assert 0.5 < verdict.tightness <= 1


def test_enclose_refutes_at_an_exact_point() -> None:
    verdict = check(_bernoulli(1))
    assert verdict.status is Status.REFUTED
    assert verdict.witness is not None
    (x,) = verdict.witness["point"]
    assert isinstance(x, Fraction)
    assert 1 + x + x * x > float(
        arb(x.numerator).exp() if x.denominator == 1 else (arb(x.numerator) / x.denominator).exp()
    )


def test_enclose_leaves_a_touching_bound_open() -> None:
    touching = Enclose(
        lhs=lambda x: 1 + x,
        rhs=lambda x: x.exp(),
        box=((-1, Fraction(2, 3)),),
        covers="statement",
        scope="around 0",
        depth=12,
    )
    assert check(touching).status is Status.INCONCLUSIVE


def test_enclose_equality_up_to_a_radius() -> None:
    def compare(_bits: int) -> list[Comparison]:
        return [Comparison(arb(2).sqrt() ** 2, 2)]

    within = Enclose(
        certify=compare,
        relation="=",
        radius=Fraction(1, 10**9),
        covers="statement",
        scope="one number",
    )
    assert check(within).status is Status.PROVED
    assert "up to 1/1000000000" in check(within).scope
    assert (
        check(Enclose(certify=compare, relation="=", covers="statement", scope="one number")).status
        is Status.INCONCLUSIVE
    )
    third = Enclose(
        certify=lambda _: [Comparison(Fraction(1, 3), Fraction(1, 3))],
        relation="=",
        covers="statement",
        scope="one number",
    )
    assert (check(third).status, check(third).grade) == (Status.PROVED, "exact-rational")


def test_lost_precision_is_inconclusive() -> None:
    hopeless = Enclose(
        certify=lambda _: [Comparison(arb("nan"), arb(1))],
        covers="statement",
        scope="nothing is known",
    )
    assert check(hopeless).status is Status.INCONCLUSIVE
    wide = Enclose(
        certify=lambda _: [Comparison(arb(0, 1), arb(0, 1))], covers="statement", scope="wide balls"
    )
    assert check(wide).status is Status.INCONCLUSIVE


def test_a_float_is_no_enclosure() -> None:
    verdict = check(
        Enclose(certify=lambda _: [Comparison(0.5, 1)], covers="statement", scope="a float")
    )
    assert verdict.status is Status.INCONCLUSIVE
    assert "decides nothing" in verdict.note
