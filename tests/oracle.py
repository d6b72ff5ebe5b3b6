"""True errors, bounded from above by ball arithmetic: what the certificates are held against."""

from __future__ import annotations

from fractions import Fraction

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
    if not (zero_q.any() or zero_k.any()):
        return yoso_expectation(q, k, v, bits=row.bits, normalize=row.normalize)
    if row.normalize:
        message = "the oracle normalises no rows of problems with zero vectors"
        raise ValueError(message)
    # One more axis, in which zero vectors point and the others have nothing: the same angles, and no zero vector left.
    lifted = [np.concatenate([x, zero[:, None].astype(np.float64)], axis=-1) for x, zero in ((q, zero_q), (k, zero_k))]
    return yoso_expectation(lifted[0], lifted[1], v, bits=row.bits)


def row_errors(value: HostArray, enclosure: Rows) -> HostArray:
    """Return, for each row, a number certainly not less than its largest absolute error."""
    return np.array([max_error(value[i : i + 1], enclosure[i : i + 1])[1] for i in range(value.shape[0])])


def ball_gap(a: Rows, b: Rows) -> Fraction:
    """Return the largest distance of the midpoints: a test of the oracle itself."""
    with precision(128):
        return max(
            abs(Fraction(float((x - ball(y)).mid())))
            for r, s in zip(a, b, strict=True)
            for x, y in zip(r, s, strict=True)
        )
