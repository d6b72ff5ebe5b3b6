"""Checks as parameters of a pytest test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from approxattn.testing.attention import Attention
from approxattn.testing.checks import attention_checks

if TYPE_CHECKING:
    import pytest


def parametrize_with_checks(attentions: Iterable[Attention]) -> pytest.MarkDecorator:
    """Parametrize a pytest test with the checks of attention functions.

    The test takes ``attention`` and ``check`` and calls ``check(attention)``. Expected failures
    become strict xfails: the test of such a check fails when it passes, and when the function
    raises an exception.

    Parameters
    ----------
    attentions : iterable of Attention
        The functions.

    Returns
    -------
    pytest.MarkDecorator
        For the test.

    Raises
    ------
    ValueError
        When `expected_failures` names no check.
    """
    import pytest

    return pytest.mark.parametrize(("attention", "check"), list(check_parameters(attentions)))


def check_parameters(attentions: Iterable[Attention]) -> Iterator[Any]:
    """Yield the pairs (attention, check) as pytest parameters."""
    import pytest

    for attention in attentions:
        for name, check in attention_checks(attention):
            reason = attention.expected_failures.get(name)
            expected = pytest.mark.xfail(reason=str(reason), strict=True, raises=AssertionError)
            yield pytest.param(
                attention,
                check,
                id=f"{attention!r}-{name.replace(' ', '_')}",
                marks=[] if reason is None else [expected],
            )
