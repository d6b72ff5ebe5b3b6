"""A gradient is the derivative of the function itself, be that exact or an approximation.

1. Let F(t) = sum of g * f(x + t e), x one of q, k, v, and e a direction of signs. Then F'(0) is
   the sum of e * (gradient by x).
2. The difference (8 (F(h) - F(-h)) - (F(2h) - F(-2h))) / (12 h) is F'(0) up to h^4 F^(5) / 30.
3. Along e a score moves by at most r t, r the scale times the largest sum of |entries| of a row of
   the other factor. By the fifth cumulant of softmax weights F^(5) is of order G V (2r)^5, with
   G = sum of |g| and V = max |v|. With h = 2^-9 / (1 + r) step 2 errs by about 1e-11 r G V, and
   rounding by u (1 + scores) G V / h.
4. So 2^-20 (1 + r) G V is far above both. What is wrong by a term, a sign or a transposition is far
   above that. *Chosen*.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from approxattn.testing.calls import Host, Unusable
from approxattn.testing.laws.shared import Law
from approxattn.testing.problem import Problem
from approxattn.testing.subject import Subject, fitted

NAMES = ("dq", "dk", "dv")

_MOST = 300
"""Tokens of a problem, at most: a gradient costs more than the function. *Chosen*."""


def gradient_of(f: Subject, p: Problem, g: Host) -> tuple[Host, ...]:
    """Return dq, dk and dv in the shapes of q, k and v; `Unusable` when they are not that."""
    assert f.gradient is not None  # noqa: S101 - laws ask before
    outputs = f.ask(f.gradient, (p.q, p.k, p.v, g), {})
    if len(outputs) != len(NAMES):
        msg = f"{len(outputs)} arrays came back, not dq, dk and dv"
        raise Unusable(msg)
    return tuple(fitted(x, y.shape) for x, y in zip(outputs, (p.q, p.k, p.v), strict=True))


def derivative(which: int) -> Law:
    """Make the law of dq, dk or dv."""

    def law(f: Subject, p: Problem) -> Any:
        if f.gradient is None or p.k.shape[0] > _MOST:
            return NotImplemented
        rng = np.random.default_rng(4)
        g = rng.uniform(-1, 1, (p.q.shape[0], p.v.shape[1]))
        x = (p.q, p.k, p.v)[which]
        e = rng.choice([-1.0, 1.0], x.shape)
        rate = f.beta(p.q.shape[1]) * _widest((p.k, p.q, np.zeros((1, 1)))[which])
        h = 2.0**-9 / (1 + abs(rate))

        def loss(t: float) -> float:
            moved = [y + t * e if i == which else y for i, y in enumerate((p.q, p.k, p.v))]
            return float(np.sum(g * f(*moved)))

        slope = (8 * (loss(h) - loss(-h)) - (loss(2 * h) - loss(-2 * h))) / (12 * h)
        told = float(np.sum(e * gradient_of(f, p, g)[which]))
        size = float(np.sum(np.abs(g))) * (1 + float(np.max(np.abs(p.v), initial=0.0)))
        gap = abs(slope - told)
        if gap <= 2.0**-20 * (1 + abs(rate)) * size:
            return None
        return f"a derivative of {slope:.6g} is given as {told:.6g}"

    law.__doc__ = f"{NAMES[which]} is the derivative of the function."
    return law


def _widest(x: Host) -> float:
    return float(np.max(np.sum(np.abs(x), axis=1), initial=0.0))
