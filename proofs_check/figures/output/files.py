"""The files of a figure: SVG, PNG and the numbers as CSV, each saying where it comes from."""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from approxattn.whole_files import write_text
from proofs_check.figures.output.draw import drawn, style
from proofs_check.figures.record import Figure

FORMATS = ("svg", "png", "csv")


def write(
    figure: Figure, folder: Path, formats: tuple[str, ...], origin: Mapping[str, str]
) -> list[Path]:
    """Write the figure into a folder that exists, in each of the formats; return the paths.

    `origin` is what `origin_of` says.
    """
    paths = [folder / f"{figure.name}.{form}" for form in formats]
    for form, path in zip(formats, paths, strict=True):
        if form == "csv":
            write_text(path, table(figure, origin))
        else:
            path.write_bytes(_picture(figure, form, origin))
    return paths


def origin_of(figure: Figure, versions: Mapping[str, str]) -> dict[str, str]:
    """Return what stands in every file of the figure: theorems, seed, versions and commit."""
    libraries = " ".join(f"{name}={number}" for name, number in versions.items())
    return {
        "figure": figure.name,
        "theorems": " ".join(figure.claims),
        "seed": "none" if figure.seed is None else str(figure.seed),
        "versions": libraries,
        "commit": _commit(),
    }


def table(figure: Figure, origin: Mapping[str, str]) -> str:
    """Return the numbers as CSV, one point a line, after lines of comment."""
    text = io.StringIO()
    for name, value in {"title": figure.title, **origin}.items():
        text.write(f"# {name}: {value}\n")
    for row in figure.printed:
        text.write(f"# {row.what}: source {row.source}, here {row.ours}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["panel", "series", "kind", "x", "y", "low"])
    for i, panel in enumerate(figure.panels):
        for series in panel.series:
            low = [""] * len(series.x) if series.low is None else series.low
            for x, y, foot in zip(series.x, series.y, low, strict=True):
                place = panel.x.names[int(x)] if panel.x.names else _number(x)
                height = panel.y.names[int(y)] if panel.y.names else _number(y)
                writer.writerow([i, series.label, series.kind, place, height, _number(foot)])
    return text.getvalue()


def _number(x: Any) -> str:
    return x if isinstance(x, str) else repr(np.float64(x).item())


def write_narrow(figure: Figure, folder: Path, origin: Mapping[str, str]) -> Path:
    """Write NAME-narrow.svg with its panels in one column, for narrow screens; return its path."""
    path = folder / f"{figure.name}-narrow.svg"
    path.write_bytes(_picture(figure, "svg", origin, columns=1))
    return path


def _picture(figure: Figure, form: str, origin: Mapping[str, str], columns: int = 2) -> bytes:
    said = "; ".join(f"{name}: {value}" for name, value in origin.items())
    named = {"Title": figure.title, "Description": said}
    if form == "svg":
        named |= {"Date": None, "Creator": None}  # type: ignore[dict-item]
    buffer = io.BytesIO()
    with style(figure.name):
        drawn(figure, columns).savefig(buffer, format=form, metadata=named)
    return buffer.getvalue()


def _commit() -> str:
    """Return the commit of the source, with + where it was changed since; "none" of a package."""
    place = Path(__file__).resolve().parents[3]
    if not (place / ".git").exists():
        return "none"
    command = ["git", "-C", str(place), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "none"
