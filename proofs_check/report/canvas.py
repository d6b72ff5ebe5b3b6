"""Axes to draw on, and the drawing as SVG text for the page.

The colour of text and axes is the page's own (currentColor), so that a figure suits light and dark
alike.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_INK = "#010203"
"""Drawn in this colour, then replaced by currentColor, which Matplotlib does not know."""

BLUE, ORANGE, RED = "#3b82c4", "#d9822b", "#cc4b5a"

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

_STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
    "grid.alpha": 0.12,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of the page.

    Attributes
    ----------
    name : str
        Prefix of all ids in it, and its anchor.
    title, caption : str
        What is drawn, and what to see in it.
    svg : str
        The drawing.
    """

    name: str
    title: str
    caption: str
    svg: str


@contextmanager
def canvas(name: str, width: float, height: float) -> Iterator[tuple[Any, Callable[[], str]]]:
    """Give axes and a function that returns the finished drawing.

    No window system, no date, ids that do not change.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Drawing

    with rc_context({**_STYLE, "svg.hashsalt": name}):
        drawing = Drawing(figsize=(width, height), layout="constrained")
        axes = drawing.subplots()

        def finish() -> str:
            buffer = io.StringIO()
            drawing.savefig(
                buffer,
                format="svg",
                metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
            )
            return _inline(buffer.getvalue(), name)

        yield axes, finish


def _inline(svg: str, name: str) -> str:
    """Return the svg element alone, its ids prefixed (several drawings share a page), its ink the
    page's.
    """
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(
        r'<svg\b[^>]*?(viewBox="[^"]*")[^>]*>',
        r'<svg \1 xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        rf'aria-labelledby="{name}-title">',
        svg,
    )
    return svg.replace(_INK, "currentColor")


def _power_of_ten(x: float, _position: int = 0) -> str:
    exponent = round(math.log10(x)) if x > 0 else 0
    return {0: "1", 1: "10", -1: "0.1", -2: "0.01"}.get(
        exponent, "10" + str(exponent).translate(_SUPERSCRIPTS)
    )


def logarithmic(axis: Any) -> None:
    """Give an axis of powers of ten its labels."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(10, numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(_power_of_ten))
