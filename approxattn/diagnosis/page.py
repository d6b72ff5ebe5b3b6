"""The diagnosis as one HTML page: the table, and error against cost as a drawing, with nothing
loaded from elsewhere.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Callable

from approxattn.diagnosis.comparison import Trial, pareto
from approxattn.diagnosis.regime import Regime

WIDTH, HEIGHT, MARGIN = 720, 420, 60
COLOURS = (
    "#1b6ca8",
    "#c0392b",
    "#2e8b57",
    "#8e44ad",
    "#d98200",
    "#111111",
    "#d6689b",
    "#00868b",
    "#7f6000",
    "#5b5b9f",
)
"""Given out to the kinds of methods in turn; *chosen* to differ on white."""

_STYLE = (
    "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:60em}"
    "pre{font-size:13px;overflow-x:auto;background:#f6f6f6;padding:1em}"
    "text{font:12px sans-serif}"
)


def page(regime: Regime, title: str) -> str:
    """Return the page."""
    name = html.escape(title)
    figure = f"<h2>Error against cost</h2>\n{drawing(regime.trials)}\n" if regime.trials else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style></head><body>\n"
        f"<h1>{name}</h1>\n<p>{html.escape(regime.advice)}</p>\n{figure}"
        f"<h2>Numbers</h2>\n<pre>{html.escape(str(regime))}</pre>\n</body></html>\n"
    )


def drawing(trials: tuple[Trial, ...]) -> str:
    """Return the drawing as SVG: both axes logarithmic, the Pareto front joined, the mean of v as a
    line, a colour for each kind of method.
    """
    tried = [t for t in trials if t.method is not None and 0 < t.error < math.inf]
    levels = [t for t in trials if t.name == "mean of v" and t.error > 0]
    if not tried:
        return "<p>No method could be tried.</p>"
    across = _axis([t.cost for t in tried], MARGIN, WIDTH - MARGIN)
    down = _axis([t.error for t in (*tried, *levels)], HEIGHT - MARGIN, MARGIN)
    front = " ".join(
        f"{across(t.cost):.1f},{down(t.error):.1f}"
        for t in pareto(trials)
        if 0 < t.error < math.inf
    )
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            'aria-label="error against cost">'
        ),
        (
            f'<path d="M{MARGIN} {MARGIN}V{HEIGHT - MARGIN}H{WIDTH - MARGIN}" fill="none" '
            'stroke="#555"/>'
        ),
        (
            f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">multiply-adds / those '
            "of exact attention</text>"
        ),
        (
            f'<text x="18" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 18 '
            f'{HEIGHT / 2})">relative error</text>'
        ),
        f'<polyline points="{front}" fill="none" stroke="#999" stroke-dasharray="4 3"/>',
    ]
    for x in sorted({round(t.cost, 2) for t in tried}):
        parts.append(
            f'<text x="{across(max(x, 1e-6)):.1f}" y="{HEIGHT - MARGIN + 18}" '
            f'text-anchor="middle">{x:g}</text>'
        )
    for y in _ticks([t.error for t in (*tried, *levels)]):
        parts.append(f'<text x="{MARGIN - 8}" y="{down(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    for level in levels:
        y_at = down(level.error)
        parts.append(
            f'<path d="M{MARGIN} {y_at:.1f}H{WIDTH - MARGIN}" stroke="#bbb"/><text '
            f'x="{WIDTH - MARGIN}" y="{y_at - 4:.1f}" text-anchor="end">{level.name}</text>'
        )
    colours = _colours(tried)
    parts += [_dot(t, across(t.cost), down(t.error), colours[_family(t)]) for t in tried]
    return "\n".join([*parts, *_legend(colours), "</svg>"])


def _colours(tried: list[Trial]) -> dict[str, str]:
    """Return a colour for each kind of method, by its place in the alphabet."""
    names = sorted({_family(t) for t in tried})
    return dict(zip(names, itertools.cycle(COLOURS), strict=False))


def _dot(trial: Trial, x: float, y: float, colour: str) -> str:
    label = html.escape(f"{trial.name}: error {trial.error:.3g} at {trial.cost:.2g} of the cost")
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"><title>{label}</title></circle>'
    )


def _legend(colours: dict[str, str]) -> list[str]:
    count = len(colours)
    return [
        (
            f'<text x="{MARGIN + 10}" y="{HEIGHT - MARGIN - 14 * (count - i)}" '
            f'fill="{colour}">&#9679; {html.escape(name)}</text>'
        )
        for i, (name, colour) in enumerate(colours.items())
    ]


def _family(trial: Trial) -> str:
    return type(trial.method).__name__


def _axis(values: list[float], start: float, end: float) -> Callable[[float], float]:
    """Return the map from values to places, logarithmic, with a little room."""
    low, high = math.log(min(values)) - 0.1, math.log(max(values)) + 0.1

    def place(x: float) -> float:
        return start + (math.log(x) - low) / (high - low) * (end - start)

    return place


def _ticks(values: list[float]) -> list[float]:
    """Return 1, 2 and 5 times powers of ten within the values."""
    low, high = min(values) / 1.1, max(values) * 1.1
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [c * 10.0**p for p in powers for c in (1, 2, 5) if low <= c * 10.0**p <= high]
