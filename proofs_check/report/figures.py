"""Figures as SVG text.

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

import numpy as np

from proofs_check.report import curves
from proofs_check.report.real_heads import Measurement

_INK = "#010203"
"""Drawn in this colour, then replaced by currentColor, which Matplotlib does not know."""

BLUE, ORANGE, GREEN, RED = "#3b82c4", "#d9822b", "#3f9c6b", "#cc4b5a"

_ROUND_NUMBERS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20]

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


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


def figures(measurement: Measurement) -> list[Figure]:
    """Compute and draw all figures."""
    return [_real_heads(measurement), _degrees(), _sharpness(), _kernels(), _hashes()]


@contextmanager
def _canvas(name: str, width: float, height: float) -> Iterator[tuple[Any, Callable[[], str]]]:
    """Give axes and a function that returns the finished drawing.

    No window system, no date, ids that do not change.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Drawing

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
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
    with rc_context(style):
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


def _log(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(10, numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(_power_of_ten))


def _real_heads(measurement: Measurement) -> Figure:
    lines = [
        x for x in measurement.lines if x.dtype == "float64" and x.family != "Exact" and x.errors()
    ]
    with _canvas("heads", 8.6, 0.32 * len(lines) + 1.1) as (axes, finish):
        axes.set_xscale("log")
        _log(axes.xaxis)
        low, high = min(measurement.mean_of_v), max(measurement.mean_of_v)
        axes.axvspan(
            low,
            high,
            color=ORANGE,
            alpha=0.18,
            linewidth=0,
            label="mean of V, least to most over the heads",
        )
        axes.axvline(1, color=RED, linewidth=1.4, linestyle=(0, (4, 2)), label="zero output")
        for y, line in enumerate(lines):
            axes.plot(
                line.errors(),
                [y] * len(line.errors()),
                "o",
                color=BLUE,
                alpha=0.6,
                markersize=5,
                markeredgewidth=0,
            )
            axes.plot(
                [float(np.median(line.errors()))] * 2, [y - 0.3, y + 0.3], color=BLUE, linewidth=2.4
            )
        axes.set_yticks(range(len(lines)), [f"{x.family}: {x.label}" for x in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("relative Frobenius error against exact attention")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9.5)
        svg = finish()
    better = [
        x
        for x in lines
        if max(e / m for e, m in zip(_all_errors(x), measurement.mean_of_v, strict=True)) < 1
    ]
    named = ", ".join(f"{x.family} ({x.label})" for x in better) or "none"
    caption = (
        "One dot a head, a bar at the median. Better than the mean of V on every one of the heads: "
        f"{named}."
    )
    return Figure(
        name="heads",
        title="Real heads: error of each method against two outputs that need no attention",
        caption=caption,
        svg=svg,
    )


def _all_errors(line: Any) -> list[float]:
    """Errors of all heads, a refusal counting as an infinite one."""
    return [math.inf if run.refused else run.error for run in line.runs]


def _degrees() -> Figure:
    found = curves.degree_curves()
    with _canvas("degrees", 5.6, 4.0) as (axes, finish):
        axes.set_yscale("log")
        _log(axes.yaxis)
        for curve, colour in zip(found, (BLUE, ORANGE), strict=True):
            name = {"taylor": "Taylor", "minimax": "minimax"}[curve.basis]
            axes.plot(
                curve.degrees, curve.bounds, "-", color=colour, label=f"{name}, certified bound"
            )
            axes.plot(
                curve.degrees,
                curve.errors,
                "o",
                color=colour,
                markersize=4,
                label=f"{name}, true error",
            )
        axes.set_xlabel("degree")
        axes.set_ylabel("largest error / (max − min of V)")
        axes.legend(fontsize=9.5)
        svg = finish()
    holds = all(e <= b for c in found for e, b in zip(c.errors, c.bounds, strict=True))
    caption = (
        "n = 256, d = 16, scores within [−2, 2]. "
        + (
            "Every true error lies below its bound. "
            if holds
            else "A TRUE ERROR EXCEEDS ITS BOUND. "
        )
        + (
            "Random scores seldom reach the ends of the interval, so a true error is mostly far "
            "below what the worst input attains."
        )
    )
    return Figure(
        name="degrees",
        title="Polynomial attention: bound and error by degree",
        caption=caption,
        svg=svg,
    )


def _sharpness() -> Figure:
    found = curves.sharpness()
    with _canvas("sharpness", 5.6, 4.0) as (axes, finish):
        axes.plot(
            *found.random,
            ".",
            color=BLUE,
            alpha=0.45,
            markersize=4,
            markeredgewidth=0,
            label="random rows of 2 to 12 weights",
        )
        axes.plot(found.log_rho, found.bound, color=ORANGE, label="tanh(ln ρ / 4)")
        axes.plot(
            *found.extremal,
            "o",
            color=ORANGE,
            markersize=5,
            markerfacecolor="none",
            label="two tokens that attain it",
        )
        axes.set_xlabel("ln ρ, range of the logarithms of the factors")
        axes.set_ylabel("total variation of the weights")
        axes.set_ylim(-0.02, 1.02)
        axes.legend(
            fontsize=9.5,
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=2,
            markerscale=1.6,
            columnspacing=1.2,
        )
        svg = finish()
    caption = (
        "If every weight of a row is off by a factor between c and cρ, the normalised rows differ "
        "by at most tanh(ln ρ / 4) in total variation (theorem ours.hilbert), and no smaller "
        "function of ρ would do."
    )
    return Figure(
        name="sharpness",
        title="The perturbation bound behind the certificates is sharp",
        caption=caption,
        svg=svg,
    )


def _kernels() -> Figure:
    found = [curves.kernels(bits) for bits in (4, 16)]
    with _canvas("kernels", 5.6, 4.0) as (axes, finish):
        for curve, colour in zip(found, (BLUE, ORANGE), strict=True):
            axes.plot(
                curve.x,
                curve.collision,
                color=colour,
                label=f"(1 − arccos(x)/π)^τ, τ = {curve.bits}",
            )
            axes.plot(
                curve.x,
                curve.exponential,
                color=colour,
                linestyle=(0, (4, 2)),
                label=f"exp(τ(x − 1)), τ = {curve.bits}",
            )
            marks = np.array(curve.crossings)
            axes.plot(
                marks,
                np.exp(curve.bits * (marks - 1)),
                "o",
                color=colour,
                markerfacecolor="none",
                markersize=7,
            )
        axes.set_xlabel("x, cosine between query and key")
        axes.set_ylabel("weight")
        axes.legend(fontsize=9.5)
        svg = finish()
    places = " and ".join(f"{x:.3f}".replace("-", "−") for x in found[0].crossings) or "no x"
    caption = (
        "YOSO replaces the exponential by a collision probability. Both are τ-th powers, so they "
        f"cross at the same x for every τ: at {places} (circles), and they agree at x = 1. "
        "Neither bounds the other, and the slope of the collision probability is infinite at x = "
        "1."
    )
    return Figure(
        name="kernels",
        title="YOSO's weight and the exponential it stands for",
        caption=caption,
        svg=svg,
    )


def _hashes() -> Figure:
    found = curves.hash_curve()
    with _canvas("hashes", 5.6, 4.0) as (axes, finish):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        for m, errors in zip(found.hashes, found.errors, strict=True):
            axes.plot(
                [m] * len(errors),
                errors,
                "o",
                color=BLUE,
                alpha=0.6,
                markersize=5,
                markeredgewidth=0,
            )
        means = np.sqrt(np.mean(np.square(found.errors), axis=1))
        anchor = float(np.exp(np.mean(np.log(means) + np.log(found.hashes) / 2)))
        axes.plot(found.hashes, anchor / np.sqrt(found.hashes), color=ORANGE, label="slope −1/2")
        axes.set_yticks(_ROUND_NUMBERS, [f"{y:g}" for y in _ROUND_NUMBERS])
        axes.set_ylim(0.8 * min(map(min, found.errors)), 1.25 * max(map(max, found.errors)))
        axes.set_xticks(found.hashes, [str(m) for m in found.hashes])
        axes.set_xlabel("hashes m")
        axes.set_ylabel("relative Frobenius error against YOSO-E")
        axes.legend(fontsize=9.5)
        svg = finish()
    caption = (
        "Layer 3, head 0, 8 bits, six independent draws each. Slope of the log-log fit: "
        f"−{-found.slope:.3f}. This is the distance to YOSO's own expectation; the distance of "
        "that to softmax attention does not shrink."
    )
    return Figure(
        name="hashes",
        title="Sampled YOSO approaches its expectation as 1/√m",
        caption=caption,
        svg=svg,
    )
