"""The errors that an audit found: sorted, with what they say of all rows; or against bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from approxattn._arrays import HostArray
from approxattn.certificate.axes import COLOURS, GREY, axes, finish, spread_out


def draw_audit(
    errors: HostArray,
    promised: tuple[HostArray, HostArray],
    trivial: Mapping[str, float],
    title: str,
    ax: Any,
) -> Any:
    """Draw shares of rows, in percent, against errors.

    Parameters
    ----------
    errors : ndarray, shape (s,)
        Of the rows recomputed.
    promised : pair of ndarray, shapes (f,)
        Shares of all rows, and the errors that these do not exceed, with confidence.
    trivial : mapping of str to float
        Largest errors of trivial outputs, drawn as lines.
    title : str
        How many rows, how sure.
    ax : matplotlib Axes or None
        Where to draw.
    """
    ax, found = axes(ax), np.sort(errors)
    shares = 100 * np.arange(1, found.size + 1) / max(found.size, 1)
    ax.step(shares, found, where="pre", color=COLOURS[0], label="errors of the rows recomputed")
    known = np.isfinite(promised[1])
    label = "not exceeded by this share of all rows"
    ax.plot(100 * promised[0][known], promised[1][known], "--", color=COLOURS[1], label=label)
    for style, (name, error) in zip((":", "-."), trivial.items(), strict=False):
        label = f"largest error of {name}, {error:.2g}"
        ax.axhline(error, color=GREY, linestyle=style, label=label)
    spread_out(ax, "y", np.append(found, list(trivial.values())))
    ax.set_xlim(0, 101)
    ax.legend(frameon=False)
    return finish(
        ax,
        x="share of the rows (%)",
        y="largest error of a row (units of v)",
        title=title,
    )


def draw_against_bounds(errors: HostArray, bounds: HostArray, target: str, ax: Any) -> Any:
    """Draw the error of each row against its bound; the title counts those without one."""
    ax, known = axes(ax), np.isfinite(bounds)
    ax.plot(
        bounds[known], errors[known], "o", color=COLOURS[0], markersize=4, alpha=0.6, label="rows"
    )
    positive = np.concatenate([x[x > 0] for x in (errors[known], bounds[known])])
    if positive.size:
        ends = [float(positive.min()) / 2, float(positive.max()) * 2]
        ax.plot(ends, ends, "--", color=COLOURS[1], label="error = bound")
        for name in "xy":
            spread_out(ax, name, np.array(ends))
    ax.legend(frameon=False)
    lost = int(np.count_nonzero(~known))
    without = f"; {lost} of {errors.size} rows have no bound" if lost else ""
    return finish(
        ax,
        x="certified bound of the row (units of v)",
        y="error found, its rounding included (units of v)",
        title=f"Distance to {target}, {int(known.sum())} rows{without}",
    )
