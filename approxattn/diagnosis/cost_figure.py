"""Error against cost of the methods tried."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from approxattn.certificate.axes import COLOURS, GREY, MARKERS, axes, finish, spread_out
from approxattn.diagnosis.comparison import Trial, pareto


def draw_costs(trials: tuple[Trial, ...], ax: Any) -> Any:
    """Draw every trial with an error, the front that none beats, and the mean of v as a line."""
    ax = axes(ax)
    tried = [t for t in trials if t.method is not None and 0 < t.error < math.inf]
    styles = itertools.cycle(zip(itertools.cycle(COLOURS), MARKERS, strict=False))
    kinds = sorted({kind(t) for t in tried})
    for name, (colour, marker) in zip(kinds, styles, strict=False):
        own = [t for t in tried if kind(t) == name]
        across, down = [t.cost for t in own], [t.error for t in own]
        ax.plot(across, down, marker, color=colour, markersize=6, alpha=0.85, label=name)
    front = [t for t in pareto(trials) if 0 < t.error < math.inf]
    ax.plot(
        [t.cost for t in front],
        [t.error for t in front],
        color=GREY,
        linewidth=1,
        zorder=1,
        label="not beaten in both",
    )
    for trial in trials:
        if trial.name == "mean of v" and trial.error > 0:
            ax.axhline(trial.error, color=GREY, linestyle="--", label="mean of v")
    spread_out(ax, "x", np.array([t.cost for t in tried]), base=2)
    spread_out(ax, "y", np.array([t.error for t in tried]))
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return finish(
        ax,
        x="multiply-adds / those of exact attention",
        y="relative error (Frobenius norm)",
        title="Methods at equal cost, measured",
    )


def kind(trial: Trial) -> str:
    """Return the name of the method, with the sketch of a Linformer: these differ most."""
    sketch = getattr(trial.method, "sketch", None)
    name = type(trial.method).__name__
    return f"{name}, {sketch}" if isinstance(sketch, str) else name
