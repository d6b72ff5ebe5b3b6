"""A test suite for functions named on the command line, as approxattn is installed.

    python -m approxattn.testing --attention PACKAGE:FUNCTION

is short for

    pytest -p approxattn.testing.plugin --pyargs approxattn.testing.suite --attention ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from approxattn.testing.attention import Attention
from approxattn.testing.checks import Check
from approxattn.testing.marking import check_parameters
from approxattn.testing.plugin import functions_of

if TYPE_CHECKING:
    import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize the test with the checks of the functions named."""
    found = list(check_parameters(functions_of(metafunc.config)))
    metafunc.parametrize(("attention", "check"), found)


def test_attention(attention: Attention, check: Check) -> None:
    """One check of one function."""
    check(attention)
