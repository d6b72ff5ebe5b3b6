"""Second opinions on networks: one token matrix through the network in balls, and slopes as central
differences there.

Values are enclosed. A slope (F(x + h) - F(x - h)) / 2h with h = 2^-400 of the largest entry is off
by what the third derivative makes of h^2, far below anything a certificate could say; that is no
enclosure, but no rounding is left in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import Rows, ball, precision
from proofs_check.hunt.oracles.networks import Weights, run, shown

Host = np.ndarray[Any, Any]

STEP = 400


def _balls(a: Host) -> Host:
    return np.asarray(np.vectorize(lambda x: ball(float(x)), otypes=[object])(a))


def value_rows(plan: Mapping[str, Any], w: Weights, x: Host, mask: Host | None, bits: int) -> Rows:
    """Return F(x) in balls, for one matrix of tokens."""
    with precision(bits):
        tokens = _balls(shown(x, mask))
        out = run(plan, {n: _balls(a) for n, a in w.items()}, tokens, mask)
        keep = np.ones(len(x), bool) if mask is None else mask
        return [
            list(row) if seen else [ball(0)] * len(row) for row, seen in zip(out, keep, strict=True)
        ]


def slope_rows(
    plan: Mapping[str, Any],
    w: Weights,
    x: Host,
    dout: Host,
    name: str,
    mask: Host | None,
    bits: int,
) -> Rows:
    """Return dL/d(name) in balls as one row, or as rows of tokens for the name "x"."""
    with precision(bits + 3 * STEP):
        x, dout = shown(x, mask), shown(dout, mask)
        wide, tokens, g = {n: _balls(a) for n, a in w.items()}, _balls(x), _balls(dout)
        given = tokens if name == "x" else wide[name]
        top = max(float(np.max(np.abs(x if name == "x" else w[name]))), 2.0**-100)
        step = ball(top) * ball(2) ** -STEP
        flat = []
        for place in np.ndindex(given.shape):
            ends = []
            for sign in (1, -1):
                moved = given.copy()
                moved[place] = moved[place] + sign * step
                changed = (wide, moved) if name == "x" else ({**wide, name: moved}, tokens)
                ends.append(np.sum(g * run(plan, *changed, mask)))
            flat.append((ends[0] - ends[1]) / (2 * step))
        shape = given.shape if name == "x" else (1, given.size)
        rows: Rows = np.array(flat, object).reshape(shape).tolist()
        return rows
