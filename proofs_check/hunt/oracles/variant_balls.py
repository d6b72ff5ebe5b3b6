"""Attention with a bias, a soft cap and a sink in ball arithmetic: one problem, row by row.

Symbols as in `oracles.variants`. The sink is a last key with the score a and the value 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import Ball, Rows, ball, hull, matrix, power, precision, softmax
from proofs_check.hunt.oracles.variants import Variant

Host = np.ndarray[Any, Any]

FAR = 10_000
"""Beyond it cosh has more digits than are worth holding. *Chosen*."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Single:
    """One problem: float64 arrays of two axes, and which keys each query sees."""

    q: Host
    k: Host
    v: Host
    g: Host
    scale: float | None
    visible: Host
    variant: Variant


@dataclass(frozen=True, kw_only=True)
class _Row:
    """The keys that a query sees, their weights, slopes of their scores, and log-sum-exp."""

    seen: list[int]
    f: list[Ball]
    h: list[Ball]
    lse: Ball


def _beta(one: Single) -> Ball:
    return 1 / ball(one.q.shape[1]).sqrt() if one.scale is None else ball(one.scale)


def _rows(one: Single) -> list[_Row]:
    beta, variant = _beta(one), one.variant
    s = (matrix(one.q) * beta * matrix(one.k).transpose()).tolist()
    visible = one.visible
    bias = variant.bias
    if bias is not None:
        bias = np.broadcast_to(bias, visible.shape)
        visible = visible & (bias > -np.inf)
    return [_row(s[i], np.flatnonzero(visible[i]), i, bias, variant) for i in range(len(s))]


def _row(s: list[Ball], seen: Host, i: int, bias: Host | None, variant: Variant) -> _Row:
    t, h = [], []
    for j in seen:
        score, slope = s[j], ball(1)
        if variant.softcap is not None:
            score, slope = _capped(score, ball(variant.softcap))
        t.append(score if bias is None else score + ball(float(bias[i, j])))
        h.append(slope)
    own = t if variant.sinks is None else [*t, ball(float(variant.sinks.reshape(())))]
    f = softmax(own) if own else []
    return _Row(seen=[int(j) for j in seen], f=f[: len(t)], h=h, lse=_log_sum(t))


def _capped(score: Ball, cap: Ball) -> tuple[Ball, Ball]:
    """Return c tanh(s / c) and its slope 1 / cosh^2, which is below 2^-28000 for |s / c| > 10^4."""
    x = score / cap
    if abs(x) > FAR:
        return cap * x.tanh(), hull(ball(0), power(ball(2), 28000) ** -1)
    return cap * x.tanh(), x.cosh() ** -2


def _log_sum(t: list[Ball]) -> Ball:
    if not t:
        return ball(0)
    shift = max((x.mid() for x in t), key=float)
    return shift + sum(((x - shift).exp() for x in t), ball(0)).log()


def attention_rows(one: Single, bits: int) -> Rows:
    """Return the output, shape (n_q, dv)."""
    with precision(bits):
        v = matrix(one.v).tolist()
        columns = range(one.v.shape[1])
        return [[_dot(row.f, [v[j][c] for j in row.seen]) for c in columns] for row in _rows(one)]


def lse_rows(one: Single, bits: int) -> Rows:
    """Return the log-sum-exp, shape (n_q, 1); 0 for a query that sees no key."""
    with precision(bits):
        return [[row.lse] for row in _rows(one)]


def gradient_rows(one: Single, part: str, bits: int) -> Rows:
    """Return one of "dq", "dk" and "dv"."""
    with precision(bits):
        q, k, v, g = (matrix(x).tolist() for x in (one.q, one.k, one.v, one.g))
        given = {"dq": q, "dk": k, "dv": v}[part]
        found = [[ball(0) for _ in line] for line in given]
        beta = _beta(one)
        for i, row in enumerate(_rows(one)):
            z = [_dot(g[i], v[j]) for j in row.seen]
            kappa = _dot(row.f, z)
            for f, h, y, j in zip(row.f, row.h, z, row.seen, strict=True):
                p = beta * f * (y - kappa) * h
                if part == "dq":
                    _add(found[i], p, k[j])
                elif part == "dk":
                    _add(found[j], p, q[i])
                else:
                    _add(found[j], f, g[i])
        return found


def _dot(x: list[Ball], y: list[Ball]) -> Ball:
    return sum((a * b for a, b in zip(x, y, strict=True)), ball(0))


def _add(line: list[Ball], factor: Ball, other: list[Ball]) -> None:
    for c, x in enumerate(other):
        line[c] += factor * x
