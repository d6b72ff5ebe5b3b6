"""Functions as text: what is written down calls the same function with the same arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from proofs_check import Assumption
from proofs_check.statements import named, serial


def power(case: Any, exponent: Any = 1, *, float: Any = 0, **more: Any) -> Any:  # noqa: A002
    """A keyword may have a name that means something to `serial`."""
    return (case, exponent, float, tuple(sorted(more.items())))


def negated(factor: int, case: Any) -> Any:
    return -factor * case


GOOD: list[Callable[..., Any]] = [
    power,
    functools.partial(power, exponent=3),
    functools.partial(power, exponent=Fraction(1, 3), float=0.1),
    functools.partial(power, exponent=None, array=True, fraction="a 'quoted' word"),
    functools.partial(power, exponent=(1, (2.5, -0.0))),
    functools.partial(negated, 3),
    functools.partial(functools.partial(power, exponent=2), float=7),
]


@pytest.mark.parametrize("function", GOOD)
def test_what_is_written_calls_the_same(function: Callable[..., Any]) -> None:
    data = serial.loads(serial.dumps(named.written(function)))
    assert named.find(data)(5) == function(5)


@pytest.mark.parametrize("function", GOOD)
def test_lines_of_python_bind_the_same(function: Callable[..., Any]) -> None:
    scope: dict[str, Any] = {"functools": functools, "np": np, "Fraction": Fraction}
    exec("\n".join(named.python(function, "again")), scope)  # noqa: S102
    assert scope["again"](5) == function(5)


def test_arrays_are_written_to_the_last_bit() -> None:
    weights = np.array([[0.1, -0.0], [np.inf, 2.0**-1074]])
    data = serial.loads(serial.dumps(named.written(functools.partial(power, exponent=weights))))
    found = named.find(data)(0)[1]
    assert found.tobytes() == weights.tobytes()
    assert named.label(functools.partial(power, exponent=weights)) == "power"


class Holder:
    def method(self, case: Any) -> Any:
        return case


def _closure() -> Callable[..., Any]:
    def inner(case: Any) -> Any:
        return case

    return inner


def shadowed(case: Any) -> Any:
    return case


FIRST = shadowed


def shadowed(case: Any) -> Any:  # type: ignore[no-redef]
    return -case


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda case: case, r"confirm\(=<lambda>\) cannot be found.*`def` at the top of a module"),
        (functools.partial(lambda case: case), "functools.partial of such a function"),
        (_closure(), "no closure"),
        (Holder().method, "no method"),
        (Holder.method, "no method"),
        (FIRST, "under a name of its own"),
        (functools.partial(power, exponent={1, 2}), "'exponent' fixed.*type set"),
        (functools.partial(power, exponent=power), "pass a string, and let power look up"),
        (functools.partial(power, exponent=1j), "use bool, int, float"),
        (functools.partial(negated, object()), "argument 0 fixed"),
    ],
)
def test_what_cannot_be_found_again_is_refused_with_a_remedy(
    function: Callable[..., Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        named.written(function, "confirm")


def test_predicates_may_have_arguments_fixed_too() -> None:
    Assumption(text="x", predicate=functools.partial(negated, 2))
    with pytest.raises(ValueError, match=r"predicate\(=negated\)"):
        Assumption(text="x", predicate=functools.partial(negated, object()))
