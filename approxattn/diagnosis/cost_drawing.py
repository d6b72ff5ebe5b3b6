"""Error against cost as SVG for a page: what `cost_figure` draws, without matplotlib.

Colours and shapes are those of all figures. Nothing rests on colour alone, and the explanation
stands beside the drawing, below it on a phone.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Callable, Mapping

from approxattn.certificate.axes import COLOURS, MARKERS
from approxattn.diagnosis.comparison import Trial, pareto
from approxattn.diagnosis.cost_figure import kind

WIDTH, HEIGHT = 560, 400
LEFT, RIGHT, TOP, BOTTOM = 70, WIDTH - 16, 16, HEIGHT - 52
"""The edges of the axes."""

_TICKS = 9
"""Most labels of an axis. *Chosen*."""

_SIZE = 5.5
_SHAPES: Mapping[str, tuple[int, float, float]] = {
    "s": (4, 1.0, 45),
    "^": (3, 1.0, 0),
    "D": (4, 1.0, 0),
    "v": (3, 1.0, 180),
    "P": (4, 0.45, 0),
    "X": (4, 0.45, 45),
    "<": (3, 1.0, -90),
    ">": (3, 1.0, 90),
    "*": (5, 0.45, 0),
    "h": (6, 1.0, 0),
    "p": (5, 1.0, 0),
}
"""Corners, how far in the points between them lie (1: there are none), and degrees of a turn."""

Look = tuple[str, str]


def drawing(trials: tuple[Trial, ...]) -> str:
    """Return a figure: both axes logarithmic, the Pareto front joined, the mean of v as a line, a
    colour and a shape for each kind of method.
    """
    tried = [t for t in trials if t.method is not None and 0 < t.error < math.inf]
    means = [t.error for t in trials if t.name == "mean of v" and t.error > 0]
    if not tried:
        return "<p>No method could be tried.</p>"
    costs, errors = [t.cost for t in tried], [*(t.error for t in tried), *means]
    across, down = _axis(costs, LEFT, RIGHT), _axis(errors, BOTTOM, TOP)
    joined = [t for t in pareto(trials) if 0 < t.error < math.inf]
    front = " ".join(f"{across(t.cost):.1f},{down(t.error):.1f}" for t in joined)
    looks = _looks(tried)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            'aria-label="error against cost">'
        ),
        *_scales(costs, errors, across, down),
        *(f'<path class="mean" d="M{LEFT} {down(y):.1f}H{RIGHT}"/>' for y in means),
        f'<polyline class="front" points="{front}"/>',
        *(_dot(t, across(t.cost), down(t.error), looks[kind(t)]) for t in tried),
        "</svg>",
    ]
    return "<figure>\n" + "\n".join([*parts, *_legend(looks, bool(means))]) + "\n</figure>"


def _scales(
    costs: list[float],
    errors: list[float],
    across: Callable[[float], float],
    down: Callable[[float], float],
) -> list[str]:
    """Return axes, grid, and labels."""
    middle = (TOP + BOTTOM) / 2
    parts = []
    for x, label in _powers_of_two(costs):
        at = across(x)
        parts.append(f'<path class="grid" d="M{at:.1f} {TOP}V{BOTTOM}"/>')
        parts.append(f'<text x="{at:.1f}" y="{BOTTOM + 18}" text-anchor="middle">{label}</text>')
    for y in _decimals(errors):
        at = down(y)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{y:g}</text>')
    return [
        *parts,
        f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>',
        (
            f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
            "multiply-adds / those of exact attention</text>"
        ),
        (
            f'<text x="15" y="{middle}" text-anchor="middle" transform="rotate(-90 15 {middle})">'
            "relative error (Frobenius norm)</text>"
        ),
    ]


def _looks(tried: list[Trial]) -> dict[str, Look]:
    """Return a colour and a shape for each kind of method, by its place in the alphabet. Black is
    the ink of the page, which is white on a dark one.
    """
    names = sorted({kind(t) for t in tried})
    inks = ["var(--ink)" if c == "#000000" else c for c in COLOURS]
    return dict(zip(names, zip(itertools.cycle(inks), itertools.cycle(MARKERS)), strict=False))


def _dot(trial: Trial, x: float, y: float, look: Look) -> str:
    label = html.escape(f"{trial.name}: error {trial.error:.3g} at {trial.cost:.2g} of the cost")
    return f'<g class="dot" transform="translate({x:.1f} {y:.1f})">{_mark(look, label)}</g>'


def _mark(look: Look, label: str = "") -> str:
    colour, shape = look
    title = f"<title>{label}</title>" if label else ""
    if shape not in _SHAPES:
        return f'<circle r="{_SIZE}" fill="{colour}">{title}</circle>'
    corners, inner, turn = _SHAPES[shape]
    count = corners if inner == 1 else 2 * corners
    radius = [1.2 * _SIZE * (inner if inner < 1 and i % 2 else 1) for i in range(count)]
    angles = [math.radians(turn) + 2 * math.pi * i / count for i in range(count)]
    points = " ".join(
        f"{r * math.sin(a):.1f},{-r * math.cos(a):.1f}" for r, a in zip(radius, angles, strict=True)
    )
    return f'<polygon points="{points}" fill="{colour}">{title}</polygon>'


def _legend(looks: Mapping[str, Look], mean: bool) -> list[str]:
    lines = {"not beaten in both": "front"} | ({"mean of v": "mean"} if mean else {})
    marks = {name: _mark(look) for name, look in looks.items()}
    marks |= {name: f'<path class="{line}" d="M-12 0H12"/>' for name, line in lines.items()}
    view = 'viewBox="-12 -8 24 16" aria-hidden="true"'
    return [
        "<ul>",
        *(f"<li><svg {view}>{m}</svg>{html.escape(name)}</li>" for name, m in marks.items()),
        "</ul>",
    ]


def _axis(values: list[float], start: float, end: float) -> Callable[[float], float]:
    """Return the map from values to places, logarithmic, with a little room."""
    low, high = math.log(min(values)) - 0.15, math.log(max(values)) + 0.15

    def place(x: float) -> float:
        return start + (math.log(x) - low) / (high - low) * (end - start)

    return place


def _powers_of_two(values: list[float]) -> list[tuple[float, str]]:
    """Return powers of two within the values, with labels; every second or third where there are
    many.
    """
    first, last = math.ceil(math.log2(min(values)) - 0.2), math.floor(math.log2(max(values)) + 0.2)
    step = 1 + (last - first) // _TICKS
    powers = [p for p in range(first, last + 1) if p % step == 0]
    return [(2.0**p, f"1/{2**-p}" if p < 0 else str(2**p)) for p in powers]


def _decimals(values: list[float]) -> list[float]:
    """Return 1, 2 and 5 times powers of ten within the values; powers only where there are many."""
    low, high = min(values) / 1.1, max(values) * 1.1
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if math.log10(high / low) < _TICKS / 3 else (1,)
    found = [c * 10.0**p for p in powers for c in digits if low <= c * 10.0**p <= high]
    return found[:: 1 + len(found) // (_TICKS + 1)]
