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

    def heads(self) -> dict[str, list[int]]:
        """Return the numbers of the heads of each setting."""
        found: dict[str, list[int]] = {}
        for i, name in enumerate(self.settings):
            found.setdefault(name, []).append(i)
        return found

    def mean(self, figures: Mapping[str, float]) -> float:
        """Return the mean over heads of a figure of their settings."""
        return float(np.mean([figures[name] for name in self.settings]))


def judgements(records: Mapping[str, Any], n: int, text: str) -> dict[str, Any]:
    """Return the records of all settings that were judged on all heads of a text."""
    start = f"{n} | {text} | errors | "
    return {name[len(start) :]: r for name, r in records.items() if name.startswith(start)}


def curve(
    records: Mapping[str, Any], n: int, teachers: Mapping[str, Sequence[str]], error: float
) -> list[dict[str, float]]:
    """Return, for plans with margins, heads left exact and heads above an error on other texts:
    means over the texts that have teachers.
    """
    points = []
    for margin in (1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2):
        found = []
        for text, names in teachers.items():
            own = judgements(records, n, text)
            taught = [judgements(records, n, name) for name in names]
            if EXACT not in own or not all(EXACT in each for each in taught):
                continue
            seconds = {c: float(np.mean([t[c]["seconds a head"] for t in taught])) for c in own}
            made = plan(margin * error, taught, seconds)
            costs = {c: r["cost"] for c, r in own.items()}
            time = made.mean(seconds) / seconds[EXACT]
            found.append((made.exact, made.above(error, own), made.mean(costs), time))
        if found:
            means = np.mean(found, axis=0).tolist()
            point = dict(zip(("exact", "above", "cost", "time"), means, strict=True))
            points.append({"planned": margin * error} | point)
    return points


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
