"""Examine a gradient of attention against enclosed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import max_error
from proofs_check.arithmetic.gradient_balls import exact_attention_gradient
from proofs_check.kit.findings import Finding
from proofs_check.kit.problems import THRESHOLD, Host, Problem, Subject

_NAMES = ("dq", "dk", "dv")


def gradient_findings(
    subject: Subject, gradient: Callable[..., Any], posed: list[Problem], *, exact: bool
) -> Iterator[Finding]:
    """One finding each for dq, dk, dv in float64: the accuracy ratio, or for an approximation the
    median relative error (a zero gradient has 1).
    """
    try:
        measured = [_errors(subject, gradient, problem) for problem in posed]
    except Exception as error:  # noqa: BLE001 - whatever the gradient raises is a finding
        for name in _NAMES:
            yield Finding(
                name=f"gradient {name}",
                held=False,
                detail=f"{type(error).__name__}: {error}"[:200],
                raised=True,
            )
        return
    for i, name in enumerate(_NAMES):
        ratios, relative = zip(*(m[i] for m in measured), strict=True)
        if exact:
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


def _errors(
    subject: Subject, gradient: Callable[..., Any], p: Problem
) -> list[tuple[float, float]]:
    """For dq, dk, dv: |error| / (u (1 + S) size), S the largest score before cancellation, and the
    relative error (NaN where the gradient vanishes).

    The sizes are those of the terms of the sums: beta |z - kappa| |k| for dq, n_q times as much
    with |q| for dk, n_q |G| for dv.
    """
    g = np.random.default_rng(2).uniform(-1, 1, (p.q.shape[0], p.v.shape[1]))
    found = [
        np.asarray(subject.get(x))
        for x in gradient(*subject.arrays(p.q, p.k, p.v, g), **subject.options)
    ]
    beta, u = subject.beta(p.q.shape[1]), 2.0**-53
    enclosed = exact_attention_gradient(p.q, p.k, p.v, g, scale=beta)
    top: Callable[[Host], float] = lambda x: float(np.max(np.abs(x)))  # noqa: E731
    pair, n = 2 * float(np.max(np.abs(g) @ np.abs(p.v).T)), p.q.shape[0]
    sizes = (beta * pair * top(p.k), beta * n * pair * top(p.q), n * top(g))
    growth = 1 + beta * float(np.max(np.abs(p.q) @ np.abs(p.k).T))
    result = []
    for x, rows, size in zip(found, enclosed, sizes, strict=True):
        true = np.array([[float(y) for y in row] for row in rows])
        error = max_error(x.astype(np.float64).reshape(true.shape), rows)[1]
        norm = float(np.linalg.norm(true))
        relative = (
            float(np.linalg.norm(x.reshape(true.shape) - true)) / norm
            if norm > 1e-12 * size
            else float("nan")
        )
        result.append(
            (
                error / (u * growth * size)
                if size > 0
                else 0.0
                if error <= 1e-30
                else float("inf"),
                relative,
            )
        )
    return result
