"""From a figure's numbers to a drawing by Matplotlib, without a window system."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping
from typing import Any

from proofs_check.figures.output.pens import PENS, Look
from proofs_check.figures.output.scales import prepare, set_ticks, tilted
from proofs_check.figures.output.style import PANEL, SMALL_PANEL, STYLE
from proofs_check.figures.record import Figure, Mark, Panel, Series

_MOST_INSIDE = 6
"""More names than that stand below the axes. *Chosen*."""

_LINE = 58
"""Characters of a title that fit above one panel."""


def drawn(figure: Figure, most: int = 2) -> Any:
    """Return the Matplotlib figure, of so many columns at most; to be saved inside `style()`."""
    from matplotlib.figure import Figure as Drawing
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    count = len(figure.panels)
    columns = min(count, most)
    rows = -(-count // columns)
    width, height = PANEL if columns == 1 else SMALL_PANEL
    more = max(_legend_height(panel) for panel in figure.panels)
    size = (width * columns, (height + more) * rows + 0.5)
    drawing = Drawing(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
    drawing.suptitle(_broken(figure.title, _LINE * columns), fontsize=11.5)
    grid = drawing.add_gridspec(rows, columns)
    for i, panel in enumerate(figure.panels):
        alone = i == count - 1 and i % columns == 0  # it has a row for itself
        _draw(drawing.add_subplot(grid[i // columns, :] if alone else grid[i]), panel)
    return drawing


def style(name: str) -> Any:
    """Return the context in which a figure is drawn and saved; its ids do not change."""
    from matplotlib import rc_context

    settings: Any = {**STYLE, "svg.hashsalt": name}
    return rc_context(settings)


def _broken(text: str, width: int) -> str:
    """Break a text into as few lines as it needs, all of about one length."""
    lines = len(textwrap.wrap(text, width))
    least = next(w for w in range(1, width + 1) if len(textwrap.wrap(text, w)) <= lines)
    return textwrap.fill(text, least)


def _draw(axes: Any, panel: Panel) -> None:
    axes.set_title(panel.title)
    prepare(axes, panel)
    numbers = _numbers(panel)
    kinds = [series.kind for series in panel.series]
    alike = Counter(kind for kind, _ in {*zip(kinds, numbers, strict=True)})
    for series, number in zip(panel.series, numbers, strict=True):
        PENS[series.kind](axes, series, Look(number, shaped=alike[series.kind] > 1))
    for key in panel.keys:
        PENS[key.kind](axes, Series(label=key.label, x=[], y=[]), Look(None))
    upright = [mark for mark in panel.marks if mark.y is None]
    for mark in panel.marks:
        _mark(axes, mark, upright.index(mark) % 3 if mark in upright and len(upright) > 2 else 0)
    set_ticks(axes, panel)
    _explain(axes, panel)


def _numbers(panel: Panel) -> list[int]:
    """Return the number of each series in the cycle: that which it names, or the next one."""
    turn, numbers = 0, []
    for series in panel.series:
        numbers.append(turn if series.colour is None else series.colour)
        turn += series.colour is None
    return numbers


def _place(panel: Panel) -> tuple[str, int]:
    """Return where the legend stands, and how many names it has."""
    names = sum(bool(series.label) for series in panel.series) + len(panel.keys)
    crowded = names > _MOST_INSIDE and panel.legend == "inside"
    return "below" if crowded else panel.legend, names


def _legend_height(panel: Panel) -> float:
    """Return the height in inches of what stands below the axes."""
    place, names = _place(panel)
    return 0.22 * -(-names // _columns(panel)) + 0.1 if place == "below" else 0.0


def _columns(panel: Panel) -> int:
    if panel.keys:
        return 2
    longest = max(len(series.label) for series in panel.series)
    return 1 if longest > 30 else 2 if longest > 18 else 3


def _explain(axes: Any, panel: Panel) -> None:
    place, names = _place(panel)
    if place == "beside":
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), labelspacing=0.8)
    elif place == "below":
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.28 if tilted(panel) else -0.15)}
        axes.legend(ncols=_columns(panel), labelspacing=0.7, **below)
    elif names:
        axes.legend()


def _mark(axes: Any, mark: Mark, line_of_text: int) -> None:
    line: Mapping[str, Any] = {"color": "0.35", "linewidth": 1, "linestyle": ":"}
    if mark.y is not None:  # the text stands at the end of the line, outside the axes
        axes.axhline(mark.y, **line)
        place = {"xy": (1, mark.y), "xycoords": ("axes fraction", "data"), "va": "center"}
        offset = (4, 0)
    else:
        axes.axvline(mark.x, **line)
        place = {"xy": (mark.x, 1), "xycoords": ("data", "axes fraction"), "ha": "center"}
        offset = (0, 3 + 11 * line_of_text)
    end = {"xytext": offset, "textcoords": "offset points"}
    axes.annotate(mark.text, fontsize=8.5, color="0.25", **place, **end)
