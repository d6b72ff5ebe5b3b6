"""Computer algebra proves what is true, refutes what is false, and does not guess."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from proofs_check import (
    Identity,
    Status,
    Symbolic,
)
from proofs_check.checkers import check


def _square_of_sum(wrong: int = 0) -> list[Identity]:
    from sympy import QQ, ring, symbols

    _, x, y = ring("x, y", QQ)
    s, t = symbols("s t")
    return [
        Identity((x + y) ** 2, x**2 + 2 * x * y + y**2 + wrong * x, "polynomials"),
        Identity((s**2 - t**2) / (s - t), s + t, "rational functions"),
        Identity(Fraction(1, 3) + Fraction(1, 6), Fraction(1, 2), "rationals"),
    ]


def test_symbolic_proves_and_refutes() -> None:
    assert (
        check(Symbolic(identities=_square_of_sum, covers="statement", scope="two variables")).status
        is Status.PROVED
    )
    verdict = check(
        Symbolic(identities=lambda: _square_of_sum(1), covers="statement", scope="two variables")
    )
    assert verdict.status is Status.REFUTED
    assert verdict.witness is not None
    assert verdict.witness["identity"] == "polynomials"
    assert verdict.witness["value"] == -verdict.witness["point"]["x"]


def test_symbolic_does_not_guess() -> None:
    from sympy import exp, symbols

    x = symbols("x")
    verdict = check(
        Symbolic(identities=lambda: [exp(x) - 1 - x], covers="statement", scope="all x")
    )
    assert verdict.status is Status.INCONCLUSIVE  # false, but no normal form says so


def test_symbolic_decides_no_floats() -> None:
    verdict = check(
        Symbolic(identities=lambda: [(0.1 + 0.2, 0.3)], covers="statement", scope="decimals")
    )
    assert verdict.status is Status.INCONCLUSIVE
    assert "exact" in verdict.note


def test_no_identity_is_no_proof() -> None:
    assert (
        check(Symbolic(identities=list, covers="statement", scope="nothing")).status
        is Status.INCONCLUSIVE
    )


def test_identity_testing_finds_the_false_and_reports_its_grade() -> None:
    p = 2**61 - 1

    def residues(rng: np.random.Generator, wrong: int = 0) -> list[int]:
        x, y = (int(z) for z in rng.integers(0, p, size=2))
        return [((x + y) ** 2 - x * x - 2 * x * y - y * y - wrong * x) % p]

    true = check(
        Symbolic(
            identities=residues, grade="pit(2^-59)", covers="statement", scope="two variables"
        ),
        rng_seed=3,
    )
    assert (true.status, true.grade) == (Status.PROVED, "pit(2^-59)")
    full = check(
        Symbolic(
            identities=residues, grade="pit(2^-59)", covers="statement", scope="two variables"
        ),
        rng_seed=3,
        budget="full",
    )
    assert (full.status, full.grade) == (Status.PROVED, "pit(2^-236)")
    assert full.facts["identities"] == 4 * true.facts["identities"]
    false = check(
        Symbolic(
            identities=lambda rng: residues(rng, 1),
            grade="pit(2^-59)",
            covers="statement",
            scope="two variables",
        ),
        rng_seed=3,
    )
    assert false.status is Status.REFUTED
