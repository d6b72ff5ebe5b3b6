"""One causal head beside PyTorch: exact attention, and selected and summary keys on long texts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from whole_calls import EXACT, SELECTED, exact_line, selected_line

CAUSAL = "one head of 8,192, d = 64, causal"
"""The line of `EXACT` that is measured here."""


def lines(repeats: int) -> dict[str, Callable[[], dict[str, float]]]:
    """Return what is measured, by the names of the records: PyTorch's milliseconds and times over
    it, or its time over ours.
    """
    shape, causal, _ = EXACT[CAUSAL]
    few = max(2, repeats // 3)
    return {
        exact_name(): partial(exact_line, shape, causal, repeats),
        **{selected_name(n): partial(selected_line, n, few) for n in SELECTED},
    }


def exact_name() -> str:
    """Return the name of the record of exact attention: its times over PyTorch's."""
    return "one head: Exact, n = 8192"


def selected_name(n: int) -> str:
    """Return the name of a record of PyTorch's time over ours."""
    return f"one head: SelectedSummaries(128, 192, 16), n = {n}"
