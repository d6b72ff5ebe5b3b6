"""From a figure's numbers to a drawing by Matplotlib, without a window system."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from proofs_check.figures.output.style import COLOURS, PANEL, STYLE
from proofs_check.figures.record import Axis, Figure, Mark, Panel, Series

_BESIDE = 6
"""More names than that stand beside the axes. *Chosen*."""

Pen = Callable[[Any, Series, str], None]


def drawn(figure: Figure) -> Any:
    """Return the Matplotlib figure; to be saved inside `style()`."""
    from matplotlib.figure import Figure as Drawing

    width, height = PANEL
    drawing = Drawing(figsize=(width * len(figure.panels), height + 0.5), layout="constrained")
    drawing.suptitle(textwrap.fill(figure.title, 58 * len(figure.panels)), fontsize=11.5)
    places = np.ravel(drawing.subplots(1, len(figure.panels)))
    for axes, panel in zip(places, figure.panels, strict=True):
        _draw(axes, panel)
    return drawing


def style(name: str) -> Any:
    """Return the context in which a figure is drawn and saved; its ids do not change."""
    from matplotlib import rc_context

    settings: Any = {**STYLE, "svg.hashsalt": name}
    return rc_context(settings)


def _draw(axes: Any, panel: Panel) -> None:
    axes.set_title(panel.title)
    _prepare(axes, "x", panel.x)
    _prepare(axes, "y", panel.y)
    turn = 0
    for series in panel.series:
        number = turn if series.colour is None else series.colour
        turn += series.colour is None
        kind = series.kind if number < len(COLOURS) else _AGAIN.get(series.kind, series.kind)
        _PENS[kind](axes, series, COLOURS[number % len(COLOURS)])
    for mark in panel.marks:
        _mark(axes, mark)
    named = sum(bool(series.label) for series in panel.series)
    if named > _BESIDE or panel.beside:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), labelspacing=0.8)
    elif named:
        axes.legend()


def _prepare(axes: Any, name: str, axis: Axis) -> None:
    getattr(axes, f"set_{name}label")(axis.label)
    if axis.log:
        getattr(axes, f"set_{name}scale")("log", base=axis.base)
    if axis.names:
        tilt = {"rotation": 40, "ha": "right"} if name == "x" else {}
        getattr(axes, f"set_{name}ticks")(range(len(axis.names)), axis.names, **tilt)
    if axis.limits is not None:
        getattr(axes, f"set_{name}lim")(*axis.limits)


def _mark(axes: Any, mark: Mark) -> None:
    line: Mapping[str, Any] = {"color": "0.35", "linewidth": 1, "linestyle": ":"}
    if mark.y is not None:
        axes.axhline(mark.y, **line)
        place = {"xy": (1, mark.y), "xycoords": ("axes fraction", "data"), "ha": "right"}
    else:
        axes.axvline(mark.x, **line)
        place = {"xy": (mark.x, 1), "xycoords": ("data", "axes fraction"), "ha": "left"}
    lower = "bottom" if mark.y is not None else "top"
    box = {"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5}
    axes.annotate(mark.text, fontsize=8.5, color="0.25", va=lower, bbox=box, **place)


def _plotted(fmt: str, **more: Any) -> Pen:
    def pen(axes: Any, series: Series, colour: str) -> None:
        form = "o" if fmt == "-" and len(series.x) == 1 else fmt  # a line of one point is none
        axes.plot(series.x, series.y, form, color=colour, label=series.label or None, **more)

    return pen


def _bars(axes: Any, series: Series, colour: str) -> None:
    foot = 0 if series.low is None else np.asarray(series.low)
    height = np.asarray(series.y) - foot
    axes.bar(series.x, height, bottom=foot, color=colour, label=series.label or None)


def _band(axes: Any, series: Series, colour: str) -> None:
    low = np.zeros(len(series.x)) if series.low is None else series.low
    label = series.label or None
    axes.fill_between(series.x, low, series.y, color=colour, alpha=0.25, linewidth=0, label=label)


_PENS: Mapping[str, Pen] = {
    "line": _plotted("-"),
    "dashed": _plotted("--"),
    "dotted": _plotted(":"),
    "marked": _plotted("o--"),
    "points": _plotted("o", markeredgewidth=0, alpha=0.6),
    "rings": _plotted("o", markerfacecolor="none"),
    "squares": _plotted("s", markersize=13, markeredgewidth=0),
    "steps": _plotted("-", drawstyle="steps-post"),
    "bars": _bars,
    "band": _band,
}

_AGAIN = {"line": "marked"}
"""Kinds for series that have the colour of an earlier one."""
