"""Options of pytest for `approxattn.testing.suite`.

No entry point loads it into other runs of pytest; ``-p approxattn.testing.plugin`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import pytest

    from approxattn.testing.attention import Attention


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that say what is tested and how it is called."""
    group = parser.getgroup("attention", "attention functions (approxattn.testing.suite)")

    def add(name: str, default: Any, text: str, **more: Any) -> None:
        group.addoption(f"--attention{name}", default=default, help=text, **more)

    add("", [], "a function to test", action="append", metavar="PACKAGE:FUNCTION")
    add("-framework", "numpy", "whose arrays it takes", choices=("numpy", "torch"))
    add("-leading", 0, "leading axes that it needs", type=int, metavar="N")
    add("-square", False, "it needs as many queries as keys", action="store_true")
    add("-approximate", False, "it approximates softmax attention", action="store_true")
    add("-scale", None, "factor of q . k; 1/sqrt(d) if not given", type=float, metavar="X")
    add("-keywords", "", "keywords that its signature hides, such as is_causal", metavar="NAME,...")
    add("-sizes", None, "numbers of tokens to try, such as 64,128", metavar="N,N,...")
    add("-multiple-of", 1, "what divides every number of tokens", type=int, metavar="N")
    add("-d", 4, "columns of queries and keys to try", type=int, metavar="N")
    add("-dv", 3, "columns of values to try", type=int, metavar="N")
    add("-gradient", None, "its gradient, or autograd (torch)", metavar="PACKAGE:FUNCTION")
    add("-xfails", None, "file of expected failures, lines CHECK: REASON", metavar="FILE")


def pytest_configure(config: pytest.Config) -> None:
    """Import the functions, so that what cannot be is told in one line."""
    import pytest

    from approxattn.testing.checks import check_names
    from approxattn.testing.command_line import attentions

    try:
        _FUNCTIONS[config] = list(attentions(config.getoption))
        for attention in _FUNCTIONS[config]:
            check_names(attention.expected_failures)
    except (LookupError, OSError, ValueError) as error:
        raise pytest.UsageError(str(error)) from error


_FUNCTIONS: WeakKeyDictionary[pytest.Config, list[Attention]] = WeakKeyDictionary()
"""By the run of pytest that tests them."""


def functions_of(config: pytest.Config) -> list[Attention]:
    """Return the functions that a run of pytest tests; there is at least one."""
    import pytest

    found = _FUNCTIONS.get(config)
    if not found:
        pytest.fail(
            "no function is named: python -m approxattn.testing --attention PACKAGE:FUNCTION"
            if found is None
            else "--attention PACKAGE:FUNCTION is missing",
            pytrace=False,
        )
    return found
