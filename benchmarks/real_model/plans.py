"""One setting a head: the cheapest whose error on some texts is small enough, exact attention where
none is; judged on other texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

EXACT = "Exact"
Judged = Mapping[str, Mapping[str, Any]]
"""Setting -> its record from `heads.judge` over all heads, in one order."""


@dataclass(frozen=True)
class Plan:
    """The setting of each head, in the order of the records."""

    settings: tuple[str, ...]

    @property
    def exact(self) -> int:
        """Number of heads that are left exact."""
        return self.settings.count(EXACT)

    def above(self, error: float, judged: Judged) -> float:
        """Return the share of heads with a larger error on another text."""
        errors = [
            0.0 if name == EXACT else judged[name]["errors"][i]
            for i, name in enumerate(self.settings)
        ]
        return float(np.mean(np.array(errors) > error))


def plan(error: float, texts: Sequence[Judged], seconds: Mapping[str, float]) -> Plan:
    """Return the plan for a relative error.

    Parameters
    ----------
    error : float
        Largest relative error that a setting may have on any of the texts.
    texts : sequence of mappings
        Errors of all settings on each text.
    seconds : mapping
        Time of a setting, and of `EXACT`; slower ones are not taken.
    """
    names = [name for name in texts[0] if seconds[name] < seconds[EXACT]]
    names.sort(key=lambda name: seconds[name])
    worst = {name: np.max([text[name]["errors"] for text in texts], axis=0) for name in names}
    count = len(next(iter(texts[0].values()))["errors"])
    chosen = (next((n for n in names if worst[n][i] <= error), EXACT) for i in range(count))
    return Plan(tuple(chosen))
