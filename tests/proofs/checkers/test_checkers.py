"""What all checkers have in common: a crash says nothing, precision stays, misuse is refused."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from flint import ctx
from hypothesis import strategies as st

from proofs_check import (
    Count,
    Enclose,
    Falsify,
    Plan,
    Sample,
    Scale,
    Status,
    Symbolic,
)
from proofs_check.checkers import check


def pairs() -> Any:
    return st.fixed_dictionaries({"x": st.floats(-4, 4), "y": st.floats(-4, 4)})


def confirm_crash(case: Any) -> tuple[Fraction, Fraction]:
    raise RuntimeError(str(case))


def _search(**changes: Any) -> Falsify:
    base: dict[str, Any] = {
        "instances": pairs,
        "measured": lambda c: 2 * c["x"] * c["y"],
        "bound": lambda c: c["x"] ** 2,
        "confirm": confirm_crash,
        "covers": "statement",
        "scope": "|x|, |y| <= 4",
        "tries": 100,
    }
    return Falsify(**(base | changes))


def _box(slack: int) -> Enclose:
    """x <= slack on [0, 3/2]: true for 2, false for 1."""
    return Enclose(
        lhs=lambda x: x,
        rhs=lambda x: 0 * x + slack,
        box=((0, Fraction(3, 2)),),
        covers="statement",
        scope="[0, 3/2]",
    )


def test_a_crash_is_inconclusive() -> None:
    def explode(*_: object) -> Any:
        msg = "out of cheese"
        raise ZeroDivisionError(msg)

    experiments = (
        Symbolic(identities=explode, covers="statement", scope="x"),
        Enclose(certify=explode, covers="statement", scope="x"),
        Enclose(lhs=explode, rhs=explode, box=((0, 1),), covers="statement", scope="x"),
        _search(measured=explode),
        _search(instances=explode),
        Sample(
            draw=explode,
            claim="probability <=",
            target=0.5,
            plan=Plan(n=9, sampler="x"),
            covers="statement",
            scope="x",
        ),
        Count(measured=explode, formula=explode, sizes=(1,), covers="statement", scope="x"),
        Scale(workload=explode, sizes=(1, 2, 3, 4), slope=(0, 1), covers="statement", scope="x"),
    )
    for experiment in experiments:
        verdict = check(experiment)
        assert verdict.status is Status.INCONCLUSIVE
        assert "out of cheese" in verdict.note


def test_precision_never_leaks() -> None:
    before = ctx.prec
    check(_box(2))
    check(_box(1))
    check(_search(confirm=confirm_crash))
    crash: Any = lambda _: 1 / 0
    check(Enclose(certify=crash, covers="statement", scope="x"))
    assert ctx.prec == before


def test_misuse_is_an_error() -> None:
    with pytest.raises(TypeError, match="no known kind"):
        check(object())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="budget"):
        check(_box(2), budget="huge")  # type: ignore[arg-type]
