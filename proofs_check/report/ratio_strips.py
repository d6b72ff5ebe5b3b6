"""Small drawings of measured / bound: one line of dots on a logarithmic scale, with the bound
itself at 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from proofs_check.report.records import number
from proofs_check.running.campaign import Result
from proofs_check.statements.experiment import Sample
from proofs_check.statements.verdict import Verdict

__all__ = ["Ratio", "draw", "ratios"]

_DECADES = (-4, 2)
"""The scale; what lies beyond is drawn at its end, as a triangle. *Chosen*."""

_WIDTH, _LEFT, _LINE = 420.0, 22.0, 22.0


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One measured / bound of one experiment, with an interval where it was estimated."""

    experiment: int
    value: float
    low: float | None = None
    high: float | None = None


def ratios(result: Result) -> tuple[Ratio, ...]:
    """Every ratio that the evidence of a statement holds; zero and infinity have no place on a
    logarithmic scale.
    """
    measured = [
        ratio
        for i, (e, v) in enumerate(zip(result.theorem.experiments, result.verdicts, strict=True))
        for ratio in _of(i, e, v)
    ]
    return tuple(r for r in measured if 0 < r.value < math.inf)


def _of(i: int, experiment: object, verdict: Verdict) -> Iterator[Ratio]:
    facts = verdict.facts
    if (
        isinstance(experiment, Sample)
        and verdict.tightness
        and {"at least", "at most"} <= set(facts)
    ):
        low, high = (float(facts[name]) / experiment.target for name in ("at least", "at most"))
        yield Ratio(experiment=i, value=verdict.tightness, low=low, high=high)
    elif "counts" in facts:
        for counted, formula in facts["counts"].values():
            if formula > 0:
                yield Ratio(experiment=i, value=float(counted / formula))
    elif verdict.tightness is not None:
        yield Ratio(experiment=i, value=verdict.tightness)


def draw(measured: Sequence[Ratio], kinds: Sequence[str]) -> str:
    """SVG of the ratios, one line per experiment; nothing when there are none."""
    if not measured:
        return ""
    rows = list(dict.fromkeys(r.experiment for r in measured))
    height = _LINE * len(rows) + 24
    body = [*_axis(height - 20)]
    for line, experiment in enumerate(rows):
        y = _LINE * line + _LINE / 2 + 2
        own = [r for r in measured if r.experiment == experiment]
        body += [_dot(r, y) for r in dict.fromkeys(own)]
        largest = number(max(r.value for r in own))
        body.append(
            f'<text x="{_WIDTH + 12:.0f}" y="{y + 4:.0f}">{escape(kinds[experiment])} '
            f"{largest}</text>"
        )
    return (
        f'<svg class="strip" viewBox="0 0 620 {height:.0f}" width="620" height="{height:.0f}" '
        f'role="img" aria-label="measured over bound, logarithmic scale">{"".join(body)}</svg>'
    )


def _axis(bottom: float) -> Iterator[str]:
    low, high = _DECADES
    for decade in range(low, high + 1):
        x = _x(10.0**decade)
        yield f'<path class="{"bound" if decade == 0 else "tick"}" d="M{x:.1f} 0V{bottom:.0f}"/>'
        label = "bound" if decade == 0 else f"{10.0**decade:g}"
        yield (
            f'<text class="label" text-anchor="middle" x="{x:.1f}" '
            f'y="{bottom + 14:.0f}">{label}</text>'
        )


def _x(ratio: float) -> float:
    low, high = _DECADES
    share = (min(max(math.log10(ratio), low), high) - low) / (high - low)
    return _LEFT + share * (_WIDTH - 2 * _LEFT)


def _dot(ratio: Ratio, y: float) -> str:
    x, (low, high) = _x(ratio.value), _DECADES
    title = f"<title>{number(ratio.value)}</title>"
    if math.log10(ratio.value) < low:
        return f'<path class="dot" d="M{x:.1f} {y:.1f}l7 -4v8z">{title}</path>'
    if math.log10(ratio.value) > high:
        return f'<path class="dot" d="M{x:.1f} {y:.1f}l-7 -4v8z">{title}</path>'
    interval = ""
    if ratio.low is not None and ratio.high is not None and ratio.low > 0:
        interval = f'<path class="interval" d="M{_x(ratio.low):.1f} {y:.1f}H{_x(ratio.high):.1f}"/>'
    return f'{interval}<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4">{title}</circle>'
