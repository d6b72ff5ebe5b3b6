"""Examine a gradient of attention against enclosed ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from approxattn.testing.calls import Host, told_error
from approxattn.testing.findings import Finding
from approxattn.testing.laws.gradient import NAMES, gradient_of
from approxattn.testing.problem import Problem
from approxattn.testing.subject import Subject
from proofs_check.arithmetic.balls import Rows, max_error
from proofs_check.arithmetic.gradient_balls import exact_attention_gradient

THRESHOLD = 30.0
"""Of the accuracy ratios, as in LAPACK's tests (LAWN 41, wording unverified)."""


def gradient_findings(subject: Subject, posed: Sequence[Problem]) -> Iterator[Finding]:
    """One finding each for dq, dk, dv in float64: the accuracy ratio, or for an approximation the
    median relative error (a zero gradient has 1).
    """
    try:
        measured = [_errors(subject, problem) for problem in posed]
    except Exception as error:  # noqa: BLE001 - numbers of any kind may upset the comparison
        for name in NAMES:
            detail = told_error(error)
            yield Finding(name=f"gradient {name}", held=False, detail=detail, error=error)
        return
    for i, name in enumerate(NAMES):
        ratios, relative = zip(*(m[i] for m in measured), strict=True)
        if subject.exact:
            worst = int(np.argmax(ratios))
            detail = (
                f"largest ratio {ratios[worst]:.3g}, threshold {THRESHOLD:g} ({posed[worst].name})"
            )
            yield Finding(name=f"gradient {name}", held=ratios[worst] <= THRESHOLD, detail=detail)
        else:
            known = [
                r
                for p, r in zip(posed, relative, strict=True)
                if not np.isnan(r) and "large" not in p.name
            ]
            median = float(np.median(known))
            yield Finding(
                name=f"gradient {name}",
                held=median < 1,
                detail=f"median relative error {median:.3g}; zero gradient 1",
            )


def _errors(subject: Subject, p: Problem) -> list[tuple[float, float]]:
    """For dq, dk, dv: |error| / (u (1 + S) size), S the largest score before cancellation, and the
    relative error (NaN where the gradient vanishes).

    The sizes are those of the terms of the sums: beta |z - kappa| |k| for dq, n_q times as much
    with |q| for dk, n_q |G| for dv.
    """
    g = np.random.default_rng(2).uniform(-1, 1, (p.q.shape[0], p.v.shape[1]))
    outputs = gradient_of(subject, p, g)
    beta = subject.beta(p.q.shape[1])
    enclosed = exact_attention_gradient(p.q, p.k, p.v, g, scale=beta)
    pair, n = 2 * float(np.max(np.abs(g) @ np.abs(p.v).T)), p.q.shape[0]
    sizes = (beta * pair * _top(p.k), beta * n * pair * _top(p.q), n * _top(g))
    growth = 1 + beta * float(np.max(np.abs(p.q) @ np.abs(p.k).T))
    return [
        _error(output, rows, growth, size)
        for output, rows, size in zip(outputs, enclosed, sizes, strict=True)
    ]


def _error(output: Host, rows: Rows, growth: float, size: float) -> tuple[float, float]:
    """Ratio and relative error of one of the three."""
    true = np.array([[float(y) for y in row] for row in rows])
    error = max_error(output.astype(np.float64), rows)[1]
    norm = float(np.linalg.norm(true))
    gap = float(np.linalg.norm(output - true))
    relative = gap / norm if norm > 1e-12 * size else float("nan")
    if size > 0:
        return error / (2.0**-53 * growth * size), relative
    return 0.0 if error <= 1e-30 else float("inf"), relative


def _top(x: Host) -> float:
    return float(np.max(np.abs(x)))
