"""The facts behind a bound, and how sure it is, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def kind_of(failure: float) -> str:
    """Say how sure a bound is that fails with this probability."""
    return "surely" if failure == 0 else f"with probability >= 1 - {failure:g}"


def facts_and_reasons(facts: Mapping[str, Any], unmet: tuple[str, ...]) -> tuple[str, str]:
    """Return the facts in brackets, and the hypotheses that failed, each empty without any."""
    given = "; ".join(f"{name} {short(value)}" for name, value in facts.items())
    return f" ({given})" if given else "", f" Not met: {'; '.join(unmet)}." if unmet else ""


def tabled(facts: Mapping[str, Any], unmet: tuple[str, ...]) -> dict[str, str]:
    """Return facts and reasons as rows of a table."""
    rows = {name: short(value) for name, value in facts.items()}
    return {**rows, **({"not met": "; ".join(unmet)} if unmet else {})}


def short(value: Any) -> str:
    """Format one fact: floats to three digits, arrays by their largest entry."""
    if isinstance(value, np.ndarray):
        return f"<= {float(np.max(value, initial=0.0)):.3g}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
