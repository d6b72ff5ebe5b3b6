"""A verdict never says more than it carries, and survives being written down."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs_check import Status, Verdict
from proofs_check.statements import serial
from proofs_check.statements.verdict import Contradiction, combine, inconclusive

PROVED = Verdict(
    status=Status.PROVED, grade="ball", scope="x in [0, 1]", tightness=0.9, seconds=1.0
)
SYMBOLIC = Verdict(status=Status.PROVED, grade="symbolic", scope="n = 3")
REFUTED = Verdict(
    status=Status.REFUTED,
    grade="exact-rational",
    scope="n = 2",
    witness={"x": Fraction(1, 3)},
    tightness=1.5,
)
SUPPORTED = Verdict(status=Status.SUPPORTED, grade="statistical", scope="1000 draws", tightness=0.5)
UNKNOWN = inconclusive("nothing found", tightness=0.95)


def of_statement(*verdicts: Verdict) -> Verdict:
    return combine(verdicts, ["statement"] * len(verdicts))


def together(**by_word: list[Verdict]) -> Verdict:
    """The verdicts about the statement first, then those about steps."""
    pairs = [(v, word) for word in ("statement", "step") for v in by_word.get(word, [])]
    return combine([v for v, _ in pairs], [word for _, word in pairs])  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"status": "proved", "grade": "ball"}, "scope"),
        ({"status": "proved", "grade": "statistical", "scope": "x"}, "grade"),
        ({"status": "proved", "scope": "x"}, "grade"),
        ({"status": "proved", "grade": "pit(2^60)", "scope": "x"}, "grade"),
        ({"status": "argued", "grade": "ball"}, "scope"),
        ({"status": "argued", "grade": "statistical", "scope": "x"}, "grade"),
        ({"status": "supported", "grade": "ball", "scope": "x"}, "grade"),
        ({"status": "supported", "grade": "statistical"}, "scope"),
        ({"status": "supported", "grade": "pit(2^-60)", "scope": "x"}, "grade"),
        ({"status": "refuted", "grade": "ball", "scope": "x"}, "witness"),
        ({"status": "refuted", "grade": "guess", "scope": "x", "witness": {"x": 1}}, "grade"),
        ({"status": "inconclusive"}, "note"),
        ({"status": "inconclusive", "grade": "ball", "note": "x"}, "grade"),
        ({"status": "true"}, "true"),
        ({"status": "inconclusive", "note": "x", "tightness": math.nan}, "tightness"),
    ],
)
def test_a_verdict_carries_what_it_claims(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Verdict(**fields)


def test_identity_testing_is_a_grade_of_its_own() -> None:
    for status in (Status.PROVED, Status.ARGUED):
        assert Verdict(status=status, grade="pit(2^-60)", scope="n = 32").grade == "pit(2^-60)"


def test_strength_is_an_order() -> None:
    assert of_statement(SUPPORTED, REFUTED, UNKNOWN).status is Status.REFUTED
    assert of_statement(UNKNOWN, PROVED, SUPPORTED).status is Status.PROVED
    assert of_statement(UNKNOWN, SUPPORTED).status is Status.SUPPORTED
    assert of_statement(UNKNOWN, UNKNOWN).status is Status.INCONCLUSIVE


WORDS = [PROVED, REFUTED, SUPPORTED, UNKNOWN]


@given(
    st.lists(st.sampled_from(WORDS), max_size=4),
    st.lists(st.sampled_from(WORDS), max_size=4),
)
def test_steps_never_decide_the_statement(whole: list[Verdict], steps: list[Verdict]) -> None:
    found = {v.status for v in whole}
    if not whole + steps or {Status.PROVED, Status.REFUTED} <= found:
        return
    status = together(statement=whole, step=steps).status
    of_steps = {v.status for v in steps}
    if status in (Status.PROVED, Status.REFUTED, Status.SUPPORTED):
        assert status in found
    assert (status is Status.REFUTED) == (Status.REFUTED in found)
    if Status.REFUTED in of_steps:
        assert status in (Status.REFUTED, Status.INCONCLUSIVE)
    if status is Status.ARGUED:
        assert of_steps == {Status.PROVED}
        assert not found & {Status.PROVED, Status.REFUTED}


def test_a_proof_of_every_step_makes_an_argument() -> None:
    argued = together(statement=[UNKNOWN], step=[PROVED, SYMBOLIC])
    assert argued.status is Status.ARGUED
    assert (argued.scope, argued.grade) == ("x in [0, 1]; n = 3", "ball")
    assert argued.tightness == UNKNOWN.tightness  # of the statement, not of a step
    assert together(statement=[PROVED], step=[SYMBOLIC]).scope == PROVED.scope
    outranked = together(statement=[SUPPORTED], step=[PROVED])
    assert outranked.status is Status.ARGUED
    assert SUPPORTED.scope in outranked.note
    assert together(statement=[SUPPORTED], step=[PROVED, UNKNOWN]).status is Status.SUPPORTED
    undecided = together(step=[PROVED, UNKNOWN])
    assert (undecided.status, undecided.note) == (Status.INCONCLUSIVE, "nothing found")


def test_a_refuted_step_refutes_the_derivation_only() -> None:
    for whole in ([], [UNKNOWN], [SUPPORTED], [PROVED]):
        verdict = together(statement=whole, step=[PROVED, REFUTED])
        assert verdict.status is Status.INCONCLUSIVE
        assert "step" in verdict.note
        assert REFUTED.scope in verdict.note
    assert together(statement=[REFUTED], step=[REFUTED]).status is Status.REFUTED
    assert together(statement=[REFUTED], step=[PROVED]).status is Status.REFUTED


def test_every_verdict_says_what_it_is_about() -> None:
    with pytest.raises(ValueError, match="one word"):
        combine([PROVED, SYMBOLIC], ["statement"])


def test_combined_fields() -> None:
    both = of_statement(PROVED, SYMBOLIC, UNKNOWN)
    assert both.scope == "x in [0, 1]; n = 3"
    assert both.grade == "ball"  # the weaker of the two proofs
    assert both.tightness == 0.95
    assert of_statement(REFUTED, SUPPORTED).witness == REFUTED.witness
    with pytest.raises(ValueError, match="at least one"):
        combine([], [])


def test_proved_and_refuted_is_a_contradiction() -> None:
    with pytest.raises(Contradiction, match=r"x in \[0, 1\].*n = 2"):
        of_statement(PROVED, REFUTED)


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.fractions(),
        st.text(),
        st.lists(st.floats(allow_nan=False), min_size=4, max_size=4).map(
            lambda x: np.array(x).reshape(2, 2)
        ),
        st.lists(st.floats(width=32, allow_nan=False), max_size=3).map(
            lambda x: np.array(x, dtype="float32")
        ),
        st.lists(st.integers(-9, 9), max_size=3).map(lambda x: np.array(x, dtype="int64")),
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and a.tobytes() == b.tobytes()
        )
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, float):
        return isinstance(b, float) and a.hex() == b.hex()
    return type(a) is type(b) and bool(a == b)


@given(VALUES)
def test_exact_json_is_exact(value: Any) -> None:
    text = serial.dumps(value)
    assert same(serial.loads(text), value)
    assert serial.dumps(serial.loads(text)) == text
    assert "NaN" not in text.replace('"NaN', "") or isinstance(value, str | dict | tuple)


@given(VALUES)
def test_python_source_rebuilds_the_value(value: Any) -> None:
    # The source is ours.
    rebuilt = eval(serial.to_python(value), {"np": np, "Fraction": Fraction})  # noqa: S307
    assert same(rebuilt, value)


def test_floats_are_written_with_their_bits() -> None:
    assert serial.dumps(0.1) == '{"float":0.1,"hex":"0x1.999999999999ap-4"}'
    assert serial.dumps(math.inf) == '{"float":null,"hex":"inf"}'


@pytest.mark.parametrize(
    "value", [1j, object(), {1: 2}, {"hex": 1, "float": 2}, np.array([1j]), np.array([object()])]
)
def test_what_cannot_be_written_exactly_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        serial.dumps(value)


@pytest.mark.parametrize("verdict", [PROVED, SYMBOLIC, REFUTED, SUPPORTED, UNKNOWN])
def test_verdicts_survive_json(verdict: Verdict) -> None:
    assert Verdict.from_json(verdict.to_json()) == verdict
