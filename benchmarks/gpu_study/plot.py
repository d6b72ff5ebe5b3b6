"""Seconds by n, one panel for whole calls and one for gradients and causal calls."""

from __future__ import annotations

from pathlib import Path

from gpu_study.records import Record
from gpu_study.summary import series


def draw(records: list[Record], path: Path, title: str) -> None:
    """Write the picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    lines = series(records)
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.2), layout="constrained", sharey=True)
    for name, points in lines.items():
        special = "gradient=True" in name or "causal=True" in name
        if len(points) < 2 or name.startswith("sums"):
            continue
        panels = list(axes) if name.startswith("sdpa") else [axes[int(special)]]
        for panel in panels:
            panel.loglog(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    for panel, text in zip(axes, ("forward", "gradient; causal"), strict=True):
        panel.set_xlabel("tokens n")
        panel.set_title(text, fontsize=10)
        if panel.lines:
            panel.legend(
                fontsize=6, frameon=False, ncols=2, loc="upper left", bbox_to_anchor=(0, -0.15)
            )
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("seconds, 8 heads")
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
