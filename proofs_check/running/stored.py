"""What a row of the store must say to be believed: text that is read back may have been damaged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

from proofs_check.statements import serial
from proofs_check.statements.verdict import Verdict

__all__ = ["Damaged", "environment_of", "plan_of", "verdict_of"]

_UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What rebuilding a value from damaged text may raise."""

_PLAN: Mapping[str, type] = {
    "theorem": str,
    "experiment": int,
    "seed": int,
    "budget": str,
    "fingerprint": str,
}


class Damaged(ValueError):
    """The text says nothing that can be used; the message says why."""


def verdict_of(text: Any) -> Verdict:
    """Read a verdict.

    Raises
    ------
    Damaged
        When the text is not JSON, or no verdict: an unknown status or field, a field of another
        type, or a claim without what must bear it out.
    """
    try:
        verdict = Verdict.from_json(text)
    except _UNREADABLE as error:
        msg = f"a verdict that cannot be read ({_short(error)})"
        raise Damaged(msg) from error
    wrong = next(_wrong_fields(verdict), None)
    if wrong is not None:
        msg = f"a verdict whose {wrong} is {getattr(verdict, wrong)!r}"
        raise Damaged(msg[:200])
    return verdict


def _wrong_fields(verdict: Verdict) -> Iterator[str]:
    """Yield the names of fields that no verdict of ours can have."""
    for name in ("grade", "scope", "note"):
        if not isinstance(getattr(verdict, name), str):
            yield name
    if not _is_number(verdict.seconds) or not 0 <= verdict.seconds < math.inf:
        yield "seconds"
    if verdict.tightness is not None and not _is_number(verdict.tightness):
        yield "tightness"
    if verdict.witness is not None and not isinstance(verdict.witness, Mapping):
        yield "witness"
    if not isinstance(verdict.facts, Mapping) or not _has_p_values(verdict.facts):
        yield "facts"


def _is_number(x: Any) -> bool:
    return isinstance(x, Real) and not isinstance(x, bool)


def _has_p_values(facts: Mapping[str, Any]) -> bool:
    """Whether the p-values by which a campaign decides lie in [0, 1], where there are any."""
    p_values = [facts[name] for name in ("p_support", "p_refute") if name in facts]
    return all(_is_number(p) and 0 <= p <= 1 for p in p_values)


def plan_of(text: Any) -> list[dict[str, Any]]:
    """Read the plan of a campaign: for each unit its fields.

    Raises
    ------
    Damaged
        When the text is not JSON, or no list of units.
    """
    plan = _loaded(text, "a plan")
    if not isinstance(plan, tuple) or not all(_is_unit(entry) for entry in plan):
        msg = "a plan that is no list of experiments"
        raise Damaged(msg)
    return list(plan)


def _is_unit(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and entry.keys() == _PLAN.keys()
        and all(type(entry[name]) is kind for name, kind in _PLAN.items())
    )


def environment_of(text: Any) -> dict[str, Any]:
    """Read where a campaign ran.

    Raises
    ------
    Damaged
        When the text is not JSON, or says nothing of system, machine and versions.
    """
    where = _loaded(text, "an environment")
    if not isinstance(where, dict) or not (
        {"system", "machine", "versions"} <= where.keys() and isinstance(where["versions"], dict)
    ):
        msg = "an environment without system, machine and versions"
        raise Damaged(msg)
    return where


def _loaded(text: Any, what: str) -> Any:
    try:
        return serial.loads(text)
    except _UNREADABLE as error:
        msg = f"{what} that cannot be read ({_short(error)})"
        raise Damaged(msg) from error


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:120]
