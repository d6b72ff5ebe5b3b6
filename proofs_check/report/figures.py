"""The figures of the page: what is computed for each, its drawing and its caption."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from proofs_check.report import curves
from proofs_check.report.canvas import BLUE, ORANGE, RED, Figure, canvas, logarithmic
from proofs_check.report.real_heads import Line, Measurement

__all__ = ["Figure", "figures"]

_ROUND_NUMBERS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20]

_DOTS: Mapping[str, Any] = {"alpha": 0.6, "markersize": 5, "markeredgewidth": 0}


def figures(measurement: Measurement) -> list[Figure]:
    """Compute and draw all figures."""
    return [_real_heads(measurement), _degrees(), _sharpness(), _kernels(), _hashes()]


def _real_heads(measurement: Measurement) -> Figure:
    lines = [
        x for x in measurement.lines if x.dtype == "float64" and x.family != "Exact" and x.errors()
    ]
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
        svg=_drawing_of_heads(lines, measurement.mean_of_v),
    )


def _drawing_of_heads(lines: Sequence[Line], mean_of_v: Sequence[float]) -> str:
    with canvas("heads", 8.6, 0.32 * len(lines) + 1.1) as (axes, finish):
        axes.set_xscale("log")
        logarithmic(axes.xaxis)
        label = "mean of V, least to most over the heads"
        axes.axvspan(
            min(mean_of_v), max(mean_of_v), color=ORANGE, alpha=0.18, linewidth=0, label=label
        )
        axes.axvline(1, color=RED, linewidth=1.4, linestyle=(0, (4, 2)), label="zero output")
        for y, line in enumerate(lines):
            median = float(np.median(line.errors()))
            axes.plot(line.errors(), [y] * len(line.errors()), "o", color=BLUE, **_DOTS)
            axes.plot([median] * 2, [y - 0.3, y + 0.3], color=BLUE, linewidth=2.4)
        axes.set_yticks(range(len(lines)), [f"{x.family}: {x.label}" for x in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("relative Frobenius error against exact attention")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9.5)
        return finish()


def _all_errors(line: Line) -> list[float]:
    """Errors of all heads, a refusal counting as an infinite one."""
    return [math.inf if run.refused else run.error for run in line.runs]


def _degrees() -> Figure:
    by_basis = curves.degree_curves()
    holds = all(e <= b for c in by_basis for e, b in zip(c.errors, c.bounds, strict=True))
    verdict = (
        "Every true error lies below its bound." if holds else "A TRUE ERROR EXCEEDS ITS BOUND."
    )
    caption = (
        f"n = 256, d = 16, scores within [−2, 2]. {verdict} Random scores seldom reach the ends of "
        "the interval, so a true error is mostly far below what the worst input attains."
    )
    return Figure(
        name="degrees",
        title="Polynomial attention: bound and error by degree",
        caption=caption,
        svg=_drawing_of_degrees(by_basis),
    )


def _drawing_of_degrees(by_basis: Sequence[curves.DegreeCurve]) -> str:
    with canvas("degrees", 5.6, 4.0) as (axes, finish):
        axes.set_yscale("log")
        logarithmic(axes.yaxis)
        for curve, colour in zip(by_basis, (BLUE, ORANGE), strict=True):
            name = {"taylor": "Taylor", "minimax": "minimax"}[curve.basis]
            bound, error = f"{name}, certified bound", f"{name}, true error"
            axes.plot(curve.degrees, curve.bounds, "-", color=colour, label=bound)
            axes.plot(curve.degrees, curve.errors, "o", color=colour, markersize=4, label=error)
        axes.set_xlabel("degree")
        axes.set_ylabel("largest error / (max − min of V)")
        axes.legend(fontsize=9.5)
        return finish()


def _sharpness() -> Figure:
    caption = (
        "If every weight of a row is off by a factor between c and cρ, the normalised rows differ "
        "by at most tanh(ln ρ / 4) in total variation (theorem ours.hilbert), and no smaller "
        "function of ρ would do."
    )
    return Figure(
        name="sharpness",
        title="The perturbation bound behind the certificates is sharp",
        caption=caption,
        svg=_drawing_of_sharpness(curves.sharpness()),
    )


def _drawing_of_sharpness(rows: curves.Sharpness) -> str:
    few, many = "two tokens that attain it", "random rows of 2 to 12 weights"
    small = {"markersize": 4, "markeredgewidth": 0}
    with canvas("sharpness", 5.6, 4.0) as (axes, finish):
        axes.plot(*rows.random, ".", color=BLUE, alpha=0.45, label=many, **small)
        axes.plot(rows.log_rho, rows.bound, color=ORANGE, label="tanh(ln ρ / 4)")
        axes.plot(
            *rows.extremal, "o", color=ORANGE, markersize=5, markerfacecolor="none", label=few
        )
        axes.set_xlabel("ln ρ, range of the logarithms of the factors")
        axes.set_ylabel("total variation of the weights")
        axes.set_ylim(-0.02, 1.02)
        place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": 2}
        axes.legend(fontsize=9.5, markerscale=1.6, columnspacing=1.2, **place)
        return finish()


def _kernels() -> Figure:
    by_bits = [curves.kernels(bits) for bits in (4, 16)]
    places = " and ".join(f"{x:.3f}".replace("-", "−") for x in by_bits[0].crossings) or "no x"
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
        svg=_drawing_of_kernels(by_bits),
    )


def _drawing_of_kernels(by_bits: Sequence[curves.Kernels]) -> str:
    ring = {"markerfacecolor": "none", "markersize": 7}
    with canvas("kernels", 5.6, 4.0) as (axes, finish):
        for curve, colour in zip(by_bits, (BLUE, ORANGE), strict=True):
            collision = f"(1 − arccos(x)/π)^τ, τ = {curve.bits}"
            exponential = f"exp(τ(x − 1)), τ = {curve.bits}"
            dashes = (0, (4, 2))
            axes.plot(curve.x, curve.collision, color=colour, label=collision)
            axes.plot(curve.x, curve.exponential, color=colour, linestyle=dashes, label=exponential)
            marks = np.array(curve.crossings)
            axes.plot(marks, np.exp(curve.bits * (marks - 1)), "o", color=colour, **ring)
        axes.set_xlabel("x, cosine between query and key")
        axes.set_ylabel("weight")
        axes.legend(fontsize=9.5)
        return finish()


def _hashes() -> Figure:
    curve = curves.hash_curve()
    caption = (
        "Layer 3, head 0, 8 bits, six independent draws each. Slope of the log-log fit: "
        f"−{-curve.slope:.3f}. This is the distance to YOSO's own expectation; the distance of "
        "that to softmax attention does not shrink."
    )
    return Figure(
        name="hashes",
        title="Sampled YOSO approaches its expectation as 1/√m",
        caption=caption,
        svg=_drawing_of_hashes(curve),
    )


def _drawing_of_hashes(curve: curves.HashCurve) -> str:
    with canvas("hashes", 5.6, 4.0) as (axes, finish):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        for m, errors in zip(curve.hashes, curve.errors, strict=True):
            axes.plot([m] * len(errors), errors, "o", color=BLUE, **_DOTS)
        means = np.sqrt(np.mean(np.square(curve.errors), axis=1))
        anchor = float(np.exp(np.mean(np.log(means) + np.log(curve.hashes) / 2)))
        axes.plot(curve.hashes, anchor / np.sqrt(curve.hashes), color=ORANGE, label="slope −1/2")
        axes.set_yticks(_ROUND_NUMBERS, [f"{y:g}" for y in _ROUND_NUMBERS])
        axes.set_ylim(0.8 * min(map(min, curve.errors)), 1.25 * max(map(max, curve.errors)))
        axes.set_xticks(curve.hashes, [str(m) for m in curve.hashes])
        axes.set_xlabel("hashes m")
        axes.set_ylabel("relative Frobenius error against YOSO-E")
        axes.legend(fontsize=9.5)
        return finish()
