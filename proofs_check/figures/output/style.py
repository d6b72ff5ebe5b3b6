"""How figures look: one set of settings and one colour cycle for all of them.

Nothing rests on colour alone: where lines or points of one panel differ by their colour they differ
by the shape of their marks too, bars by their hatching, squares by what is written in them.
"""

from __future__ import annotations

from typing import Any

from approxattn.certificate.axes import COLOURS, MARKERS

__all__ = ["COLOURS", "HATCHES", "MARKERS", "PANEL", "SHADES", "SMALL_PANEL", "STYLE"]

HATCHES = ("", "///", "...", "xx", "\\\\", "++", "oo")

SHADES = "cividis_r"
"""Of squares, by their number: from light to dark, in grey as well."""

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "hatch.linewidth": 0.7,
    "lines.linewidth": 1.7,
    "lines.markersize": 4,
    "savefig.dpi": 160,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
}

PANEL = (5.4, 4.0)
"""Width and height of a panel that is alone, in inches."""

SMALL_PANEL = (4.4, 3.4)
"""Width and height of one of several panels: two of them fit into a column of text."""
