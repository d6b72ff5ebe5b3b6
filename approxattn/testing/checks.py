"""The checks of an attention function, one by one or all together."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeAlias
from unittest import SkipTest

from approxattn.testing.attention import Attention
from approxattn.testing.conduct import CHECKS as CONDUCT
from approxattn.testing.examining import NAMES, finding, law_finding
from approxattn.testing.findings import Examination, Finding
from approxattn.testing.laws import LAWS
from approxattn.testing.problem import Problem

Check: TypeAlias = Callable[[Attention], None]


class NoOutputError(Exception):
    """A function gave no numbers where it should have; never an expected failure."""


def attention_checks(attention: Attention) -> Iterator[tuple[str, Check]]:
    """Yield the checks of an attention function with their names.

    ``check(attention)`` returns None when the check holds. It raises AssertionError with the first
    counterexample when not, `NoOutputError` when the function raised an exception where it should
    have given numbers, and ``unittest.SkipTest`` where it has no such form.

    Parameters
    ----------
    attention : Attention
        The function. Its `expected_failures` are not looked at.

    Returns
    -------
    iterator of (str, callable)
        In a fixed order, the same for every function.
    """
    check_names(attention.expected_failures)
    return ((name, partial(_check, name)) for name in NAMES)


def _check(name: str, attention: Attention) -> None:
    found = finding(attention.subject(), attention.problems(), name)
    if found.held is None:
        raise SkipTest(found.detail)
    _judge(found)


def _judge(found: Finding) -> None:
    """Raise what a finding calls for."""
    msg = f"{found.name}: {found.detail}"
    if found.error is not None:
        raise NoOutputError(msg) from (found.error.__cause__ or found.error)
    if found.held is False:
        raise AssertionError(msg)


def check_attention(attention: Attention, *, seed: int = 0) -> Examination:
    """Carry out all checks of an attention function in this process.

    Whatever the function raises is a failed check, SystemExit included; only an interrupt from the
    keyboard gets through. Settings of the process that it changes are put back.

    Parameters
    ----------
    attention : Attention
        The function.
    seed : int
        Of the problems.

    Returns
    -------
    Examination
        One finding a check; `print` shows them as a table, `ok` says whether all held. An expected
        failure counts for nothing, and for a failure when it does not happen.

    Raises
    ------
    ValueError
        When `expected_failures` names no check.
    """
    check_names(attention.expected_failures)
    subject, posed = attention.subject(), attention.problems(seed)
    found = [finding(subject, posed, name) for name in NAMES if name not in CONDUCT]
    found += [finding(subject, posed[:1], name) for name in CONDUCT]
    expected = (_as_expected(f, attention.expected_failures) for f in found)
    return Examination(subject=repr(attention), findings=tuple(expected))


def _as_expected(found: Finding, expected: Mapping[str, str]) -> Finding:
    if found.name not in expected or found.raised:
        return found
    reason = expected[found.name]
    if found.held is False:
        return replace(found, held=None, detail=f"expected, {reason}: {found.detail}")
    detail = f"it holds, or does not apply, but was expected to fail ({reason})"
    return replace(found, held=False, detail=detail)


def check_names(names: Iterable[str]) -> None:
    """Raise ValueError for a name that no check has, with those that are near it."""
    for name in names:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=3, cutoff=0.4)
            meant = f"did you mean {' or '.join(map(repr, near))}?" if near else "take it from them"
            msg = f"expected_failures(={name!r} among others) names no check: {meant}"
            raise ValueError(msg)


def assert_law(attention: Attention, law: str, problem: Problem) -> None:
    """Ask one law at one problem, for tests with problems of their own.

    Parameters
    ----------
    attention : Attention
        The function.
    law : str
        Its name, as `attention_checks` gives it.
    problem : Problem
        One that `problems` has drawn, or another.

    Returns
    -------
    None
        When the law holds, or the function has no such form.

    Raises
    ------
    AssertionError
        When it does not hold; the message says by how much.
    NoOutputError
        When the function raised an exception where it should have given numbers.
    ValueError
        When there is no such law.
    """
    if law not in LAWS:
        near = difflib.get_close_matches(law, LAWS, n=3, cutoff=0.4) or list(LAWS)[:3]
        msg = f"law(={law!r}) is none: did you mean {' or '.join(map(repr, near))}?"
        raise ValueError(msg)
    _judge(law_finding(attention.subject(), [problem], law))
