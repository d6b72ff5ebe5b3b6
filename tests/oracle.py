"""True errors, bounded from above by ball arithmetic: what the certificates are held against."""

from __future__ import annotations

from typing import Any

import numpy as np
from cases import Case
from methods import Row

from approxattn._arrays import HostArray
from proofs_check.enclosure import Rows, ball, exact_attention, max_error, precision, yoso_expectation


def enclose(row: Row, case: Case) -> Rows:
    """Enclose what the certificate of a row's method speaks about, for a case without leading axes."""
    q, k, v = (x.astype(np.float64) for x in (case.q, case.k, case.v))  # exact: no accepted dtype is wider
    mask = case.options.get("key_mask")
    causal = bool(case.options.get("causal"))
    if row.target == "softmax":
        return exact_attention(q, k, v, scale=case.options.get("scale"), causal=causal, key_mask=mask)
    visible = np.broadcast_to(True if mask is None else mask, k.shape[:1])
    if not causal:
        return _yoso(q, k[visible], v[visible], row)
    rows = []
    for i in range(q.shape[0]):
        past = np.flatnonzero(visible[: i + 1])
        rows += _yoso(q[i : i + 1], k[past], v[past], row)
    return rows


def _yoso(q: HostArray, k: HostArray, v: HostArray, row: Row) -> Rows:
    """YOSO-E where a zero vector stands at a right angle to every other vector and parallel to zero vectors, as its signs do."""
    zero_q, zero_k = (~x.any(axis=-1) for x in (q, k))
    if zero_q.any() or zero_k.any():
        # One more axis, in which zero vectors point and the others have nothing: the same angles, and no zero vector left.
        q, k = (np.concatenate([x, z[:, None].astype(np.float64)], axis=-1) for x, z in ((q, zero_q), (k, zero_k)))
    rows = yoso_expectation(q, k, v, bits=row.bits)
    with precision(256):
        return [_unit(r) for r in rows] if row.normalize else rows


def _unit(row: list[Any]) -> list[Any]:
    """Divide by the Euclidean norm; a row of exact zeros stays zero, and one that cannot be told from zero could be any unit vector."""
    norm = sum((x * x for x in row), ball(0)).sqrt()
    if all(x == 0 for x in row):
        return row
    return [x / norm for x in row] if norm > 0 else [ball(0) for _ in row]


def row_errors(value: HostArray, enclosure: Rows) -> HostArray:
    """Return, for each row, a number certainly not less than its largest absolute error."""
    return np.array([max_error(value[i : i + 1], enclosure[i : i + 1])[1] for i in range(value.shape[0])])
