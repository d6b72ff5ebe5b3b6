"""How figures look: one set of settings and one colour cycle for all of them.

The colours are those of Okabe and Ito (2008), which readers with any colour vision tell apart;
yellow is left out, since it is faint on white.
"""

from __future__ import annotations

from typing import Any

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

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
