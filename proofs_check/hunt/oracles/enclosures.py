"""Second opinions: one problem in ball arithmetic, at a precision that grows until it decides.

Only what the oracle of extended precision leaves open, or calls a violation, comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from proofs_check.arithmetic.balls import (
    Rows,
    ball,
    exact_attention,
    matrix,
    max_error,
    precision,
    softmax,
    yoso_expectation,
)
from proofs_check.arithmetic.gradient_balls import exact_attention_gradient
from proofs_check.hunt.claims import Ends
from proofs_check.hunt.methods import Row
from proofs_check.hunt.problems import Posed

Host = np.ndarray[Any, Any]

PRECISIONS = (160, 640, 2600)
"""Bits to work with, one after the other: scores of 2^1000 need a thousand more than others."""

Maker = Callable[[int], Rows]


def ends(value: Host, make: Maker) -> Ends:
    """Return ends of the largest error of each row, as close as the precisions bring them."""
    low, high = np.zeros(len(value)), np.full(len(value), np.inf)
    shown = np.where(np.isfinite(value), value, 0.0)
    for bits in PRECISIONS:
        rows = make(bits)
        for i, row in enumerate(rows):
            low[i], high[i] = max_error(shown[i : i + 1], [row], bits=bits)
        if (high / 2 <= low).all() or (high < 1e-290).all():
            break
    return low, high


def _arrays(posed: Posed, item: int) -> dict[str, Host]:
    return {name: a[item].astype(np.float64) for name, a in posed.cleaned().items()}


def attention_rows(row: Row, posed: Posed, item: int) -> Maker:
    """Return what encloses the target of one item's output."""
    a, seen = _arrays(posed, item), _seen(posed, item)
    if row.target == "yoso":
        return lambda bits: _yoso_rows(row, a, seen, bits)
    some = np.asarray(seen.any(axis=1))

    def make(bits: int) -> Rows:
        if not some.any():
            return _spread([], some, a["v"].shape[1])
        rows = exact_attention(
            a["q"][some], a["k"], a["v"], scale=posed.scale, key_mask=seen[some], bits=bits
        )
        return _spread(rows, some, a["v"].shape[1])

    return make


def _seen(posed: Posed, item: int) -> Host:
    """Return which keys each query of one item sees, shape (n_q, n_k)."""
    visible = posed.visible()
    return np.asarray(visible[item if len(visible) > 1 else 0])


def _spread(rows: Rows, some: Host, columns: int) -> Rows:
    """Return rows of 0 where a query sees no key, and the others in their places."""
    given = iter(rows)
    return [next(given) if one else [ball(0)] * columns for one in some]


def gradient_rows(posed: Posed, item: int, part: str) -> Maker:
    """Return what encloses one part of one item's gradient of softmax attention."""
    a, seen = _arrays(posed, item), _seen(posed, item)
    some = np.asarray(seen.any(axis=1))

    def make(bits: int) -> Rows:
        if not some.any():
            given = a[{"dq": "q", "dk": "k", "dv": "v"}[part]]
            return _spread([], np.zeros(len(given), bool), given.shape[1])
        exact = exact_attention_gradient(
            a["q"][some],
            a["k"],
            a["v"],
            a["g"][some],
            scale=posed.scale,
            key_mask=seen[some],
            bits=bits,
        )
        rows: Rows = getattr(exact, part)
        return _spread(rows, some, a["q"].shape[1]) if part == "dq" else rows

    return make


def tensor_rows(posed: Posed, item: int) -> Maker:
    """Return what encloses attention over pairs of keys, for one item."""
    a = _arrays(posed, item)

    def make(bits: int) -> Rows:
        with precision(bits):
            q, k, k2, v, v2 = (matrix(a[name]).tolist() for name in ("q", "k", "k2", "v", "v2"))
            beta = 1 / ball(len(q[0])) if posed.scale is None else ball(posed.scale)
            pairs = [(x, y) for x in range(len(k)) for y in range(len(k2))]
            rows = []
            for one in q:
                f = softmax([beta * _triple(one, k[x], k2[y]) for x, y in pairs])
                rows.append([_mixed(f, pairs, v, v2, c) for c in range(len(v[0]))])
            return rows

    return make


def _triple(x: list[Any], y: list[Any], z: list[Any]) -> Any:
    return sum((a * b * c for a, b, c in zip(x, y, z, strict=True)), ball(0))


def _mixed(f: list[Any], pairs: list[tuple[int, int]], v: Rows, v2: Rows, c: int) -> Any:
    products = (w * v[x][c] * v2[y][c] for w, (x, y) in zip(f, pairs, strict=True))
    return sum(products, ball(0))


def _yoso_rows(row: Row, a: dict[str, Host], seen: Host, bits: int) -> Rows:
    q, k, v = _without_zeros(a["q"], a["k"], a["v"])
    rows: Rows = []
    for i in range(len(q)):
        past = np.flatnonzero(seen[i])
        if not past.size:
            rows.append([ball(0)] * v.shape[1])
            continue
        rows += yoso_expectation(q[i : i + 1], k[past], v[past], bits=row.bits, working_bits=bits)
    if not row.normalize:
        return rows
    with precision(2 * bits):
        return [list(_unit(r)) for r in rows]


def _without_zeros(q: Host, k: Host, v: Host) -> tuple[Host, Host, Host]:
    """Give zero vectors an axis of their own: the same angles, and no zero vector left."""
    zero_q, zero_k = (~np.asarray(x.any(axis=-1)) for x in (q, k))
    if zero_q.any() or zero_k.any():
        q, k = (
            np.concatenate([x, z[:, None].astype(np.float64)], axis=-1)
            for x, z in ((q, zero_q), (k, zero_k))
        )
    return q, k, v


def _unit(row: list[Any]) -> Iterator[Any]:
    """Divide by the Euclidean norm; zeros stay, and what may be zero is anywhere in [-1, 1]."""
    norm = sum((x * x for x in row), ball(0)).sqrt()
    for x in row:
        yield x if all(y == 0 for y in row) else x / norm if norm > 0 else ball(0).union(ball(1))
