"""The bounds of a certificate, row by row, sorted."""

from __future__ import annotations

from typing import Any

import numpy as np

from approxattn._arrays import HostArray
from approxattn.certificate.axes import COLOURS, GREY, axes, finish, spread_out


def draw_bounds(rows: HostArray, target: str, kind: str, ax: Any) -> Any:
    """Draw the share of the rows, in percent, against their bounds; rows without one as a band."""
    ax, bounds = axes(ax), np.sort(rows, axis=None)
    finite = bounds[np.isfinite(bounds)]
    share = 100 * np.arange(1, bounds.size + 1) / max(bounds.size, 1)
    known = share[: finite.size]
    ax.step(known, finite, where="pre", color=COLOURS[0], label="certified bound")
    if finite.size:
        worst = float(finite[-1])
        ax.plot(known[-1:], finite[-1:], "o", color=COLOURS[1], label=f"largest, {worst:.3g}")
        spread_out(ax, "y", finite)
    if finite.size < bounds.size:
        start = float(known[-1]) if finite.size else 0.0
        lost = f"no bound, {bounds.size - finite.size} of {bounds.size} rows"
        ax.axvspan(start, 100, color=GREY, alpha=0.3, linewidth=0, label=lost)
    ax.set_xlim(0, 101)
    ax.legend(frameon=False)
    return finish(
        ax,
        x="share of the rows, sorted (%)",
        y="bound on the error of a row (units of v)",
        title=f"Distance to {target}, {kind}",
    )
