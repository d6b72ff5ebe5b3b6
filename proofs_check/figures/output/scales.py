"""Scales of the axes: labels, limits and ticks that can be read at the size of a panel."""

from __future__ import annotations

import itertools
import math
from typing import Any

from proofs_check.figures.record import Panel

_CHARACTERS = 50
"""Characters of tick labels that fit beside each other below the axes. *Chosen*."""

_TICKS = 7
"""Most parts of an axis between two ticks. *Chosen*."""

_FEW, _MANY = 2.7, 16
"""Decades up to which 2 and 5 have ticks, and beyond which every fifth power. *Chosen*."""


def tilted(panel: Panel) -> bool:
    """Return whether the names below a panel are too long to stand level."""
    names = panel.x.names
    room = _CHARACTERS / max(len(names), 1) - 1
    return any((len(a) + len(b)) / 2 > room for a, b in itertools.pairwise(names))


def prepare(axes: Any, panel: Panel) -> None:
    """Set labels, scales and limits, before anything is drawn."""
    for name, axis in (("x", panel.x), ("y", panel.y)):
        getattr(axes, f"set_{name}label")(axis.label)
        if axis.log:
            getattr(axes, f"set_{name}scale")("log", base=axis.base)
        limits = axis.limits or ((-0.5, len(axis.names) - 0.5) if axis.names else None)
        if limits is not None:
            getattr(axes, f"set_{name}lim")(*limits)
    if panel.x.names:
        tilt = {"rotation": 40, "ha": "right"} if tilted(panel) else {}
        axes.set_xticks(range(len(panel.x.names)), panel.x.names, **tilt)
    if panel.y.names:
        axes.set_yticks(range(len(panel.y.names)), panel.y.names)


def set_ticks(axes: Any, panel: Panel) -> None:
    """Set the ticks of axes with numbers, by the limits that the drawn data gave them."""
    for line, axis, whole in ((axes.xaxis, panel.x, _whole(panel)), (axes.yaxis, panel.y, False)):
        if axis.log and axis.base == 10:
            _set_powers(line)
        elif not axis.log and not axis.names:
            _set_numbers(line, whole)


def _whole(panel: Panel) -> bool:
    return all(float(x).is_integer() for series in panel.series for x in series.x)


def _set_numbers(line: Any, whole: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    steps = [1, 2, 5, 10] if whole else [1, 2, 2.5, 5, 10]
    line.set_major_locator(MaxNLocator(nbins=_TICKS, steps=steps, integer=whole))


def _set_powers(line: Any) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    low, high = line.get_view_interval()
    decades = math.log10(high / low)
    if decades <= _FEW:
        line.set_major_locator(LogLocator(subs=(1, 2, 5)))
        line.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        line.set_minor_locator(NullLocator())
    elif decades > _MANY:
        step = 5 if decades <= 40 else 10
        first, last = math.ceil(math.log10(low) / step), math.floor(math.log10(high) / step)
        line.set_major_locator(FixedLocator([10.0 ** (step * i) for i in range(first, last + 1)]))
        line.set_minor_locator(NullLocator())
