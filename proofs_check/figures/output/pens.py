"""How each kind of series is drawn on Matplotlib's axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from proofs_check.figures.output.style import COLOURS, HATCHES, MARKERS, SHADES
from proofs_check.figures.record import Kind, Series

_GREY = "0.3"

_FEW = 60
"""Up to so many points are drawn larger. *Chosen*."""


@dataclass(frozen=True)
class Look:
    """How a series looks beside the others of its panel.

    Attributes
    ----------
    number : int or None
        Its place in the cycle of colours; None: grey.
    shaped : bool
        Whether others of its kind differ by colour, so that it needs marks of its own shape.
    """

    number: int | None
    shaped: bool = False

    @property
    def colour(self) -> str:
        """Of the cycle, or grey."""
        return _GREY if self.number is None else COLOURS[self.number % len(COLOURS)]

    @property
    def marker(self) -> str:
        """Shape of its points: round where colour need not be told apart."""
        return MARKERS[(self.number or 0) % len(MARKERS)] if self.shaped else "o"


Pen = Callable[[Any, Series, Look], None]


def _line(dashes: str, **more: Any) -> Pen:
    def pen(axes: Any, series: Series, look: Look) -> None:
        marks: dict[str, Any] = {}
        if len(series.x) == 1:  # a line of one point is none
            marks = {"marker": look.marker}
        elif look.shaped:  # far apart along the line, and not at those of its neighbours
            step = 1 if len(series.x) < 12 else (0.03 * ((look.number or 0) % 4 + 1), 0.16)
            marks = {"marker": look.marker, "markevery": step}
        label = series.label or None
        axes.plot(series.x, series.y, dashes, color=look.colour, label=label, **marks, **more)

    return pen


def _joined(axes: Any, series: Series, look: Look) -> None:
    axes.plot(series.x, series.y, f"{look.marker}-", color=look.colour, label=series.label or None)


def _points(axes: Any, series: Series, look: Look) -> None:
    few = len(series.x) <= _FEW
    size: dict[str, Any] = {"markersize": 5.5, "alpha": 0.85} if few else {"alpha": 0.5}
    size["markeredgewidth"] = 0
    label = series.label or None
    axes.plot(series.x, series.y, look.marker, color=look.colour, label=label, **size)


def _rings(axes: Any, series: Series, look: Look) -> None:
    hollow = {"markerfacecolor": "none", "markersize": 5}
    label = series.label or None
    axes.plot(series.x, series.y, look.marker, color=look.colour, label=label, **hollow)


def _dashes(axes: Any, series: Series, look: Look) -> None:
    flat = {"markersize": 18, "markeredgewidth": 2.2}
    axes.plot(series.x, series.y, "_", color=look.colour, label=series.label or None, **flat)


def _squares(axes: Any, series: Series, look: Look) -> None:
    from matplotlib import colormaps

    share = (look.number or 0) / (len(COLOURS) - 1)
    face = {"color": colormaps[SHADES](share), "markersize": 14, "markeredgewidth": 0}
    axes.plot(series.x, series.y, "s", label=series.label or None, **face)
    ink = {"color": "white" if share > 0.5 else "black", "fontsize": 8}
    for x, y in zip(series.x, series.y, strict=True):
        axes.annotate(series.written, (x, y), ha="center", va="center_baseline", **ink)


def _bars(axes: Any, series: Series, look: Look) -> None:
    foot = 0 if series.low is None else np.asarray(series.low)
    height = np.asarray(series.y) - foot
    hatch = HATCHES[(look.number or 0) % len(HATCHES)]
    face = {"color": look.colour, "edgecolor": "white", "linewidth": 0.4, "hatch": hatch}
    axes.bar(series.x, height, bottom=foot, label=series.label or None, **face)


def _band(axes: Any, series: Series, look: Look) -> None:
    low = np.zeros(len(series.x)) if series.low is None else series.low
    face = {"color": look.colour, "alpha": 0.25, "linewidth": 0}
    axes.fill_between(series.x, low, series.y, label=series.label or None, **face)


PENS: Mapping[Kind, Pen] = {
    "line": _line("-"),
    "joined": _joined,
    "dashed": _line("--"),
    "dotted": _line(":"),
    "points": _points,
    "rings": _rings,
    "dashes": _dashes,
    "squares": _squares,
    "steps": _line("-", drawstyle="steps-post"),
    "bars": _bars,
    "band": _band,
}
