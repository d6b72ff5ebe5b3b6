"""Where figures are drawn, and in which colours. Only here, and when something is drawn, is
matplotlib imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from approxattn._arrays import HostArray

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Of Okabe & Ito, which colour-blind readers tell apart; without yellow, which fades on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h", "p")
"""Shapes, so that nothing rests on colour alone."""

GREY = "#8a8a8a"


def axes(ax: Any) -> Any:
    """Return the axes given, or those of a new figure.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        msg = "plot() draws with matplotlib, which is not installed: pip install matplotlib"
        raise ImportError(msg) from error
    _, made = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    return made


def spread_out(ax: Any, name: str, values: HostArray, base: int = 10) -> None:
    """Make the axis "x" or "y" logarithmic where its positive values differ by more than a factor
    of 5, with plain numbers at its ticks.
    """
    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size or positive.max() <= 5 * positive.min():
        return
    getattr(ax, f"set_{name}scale")("log", base=base)
    axis = getattr(ax, f"{name}axis")
    axis.set_major_formatter(_fraction if base == 2 else _decimal(""))
    few = positive.max() < 200 * positive.min()
    axis.set_minor_formatter(_decimal("25") if few and base == 10 else _decimal("none"))


def _fraction(x: float, _place: int) -> str:
    """Return powers of two below 1 as fractions."""
    return f"1/{1 / x:g}" if 0 < x < 1 else f"{x:g}"


def _decimal(digits: str) -> Callable[[float, int], str]:
    """Return what writes numbers of one of these first digits, of any for an empty string."""

    def write(x: float, _place: int) -> str:
        return f"{x:g}" if not digits or f"{x:e}"[0] in digits else ""

    return write


def finish(ax: Any, *, x: str, y: str, title: str) -> Any:
    """Label the axes and return them."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(title, loc="left", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(visible=True, which="major", color=GREY, alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    return ax
