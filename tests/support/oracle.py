"""True errors, bounded from above by ball arithmetic: what the certificates are held against."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from cases import Case
from methods import Row

from approxattn._arrays import HostArray
from approxattn.hashing.directions import over_largest
from proofs_check.arithmetic.balls import (
    Rows,
    ball,
    exact_attention,
    max_error,
    precision,
    yoso_expectation,
)


def enclose(row: Row, case: Case) -> Rows:
    """Enclose what the certificate of a row's method speaks about, for a case without
    leading axes.
    """
    # exact: no accepted dtype is wider
    q, k, v = (x.astype(np.float64) for x in (case.q, case.k, case.v))
    mask = case.options.get("key_mask")
    causal = bool(case.options.get("causal"))
    if row.target == "softmax":
        return exact_attention(
            q, k, v, scale=case.options.get("scale"), causal=causal, key_mask=mask
        )
    visible = np.broadcast_to(True if mask is None else mask, k.shape[:1])
    if row.target == "hadamard":
        return _hadamard(case.q, case.k[visible], v[visible], row)
    if not causal:
        return _yoso(q, k[visible], v[visible], row)
    rows = []
    for i in range(q.shape[0]):
        past = np.flatnonzero(visible[: i + 1])
        rows += _yoso(q[i : i + 1], k[past], v[past], row)
    return rows


def _yoso(q: HostArray, k: HostArray, v: HostArray, row: Row) -> Rows:
    """YOSO-E where a zero vector stands at a right angle to every other vector and parallel to zero
    vectors, as its signs do.
    """
    zero_q, zero_k = (~x.any(axis=-1) for x in (q, k))
    if zero_q.any() or zero_k.any():
        # One more axis, in which zero vectors point and the others have nothing: the same angles,
        # and no zero vector left.
        q, k = (
            np.concatenate([x, z[:, None].astype(np.float64)], axis=-1)
            for x, z in ((q, zero_q), (k, zero_k))
        )
    rows = yoso_expectation(q, k, v, bits=row.bits)
    with precision(256):
        return [_unit(r) for r in rows] if row.normalize else rows


def _hadamard(q: HostArray, k: HostArray, v: HostArray, row: Row) -> Rows:
    """Expectation of Hadamard hashing: the share of all 2^(3 D) draws of signs for which codes
    agree, D = 2 or 4, over all codes of a block.
    """
    width = 1 << (max(q.shape[-1], row.bits) - 1).bit_length()
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=3 * width))).reshape(
        -1, 3, 1, width
    )
    h = np.array([[(-1.0) ** (i & j).bit_count() for j in range(width)] for i in range(width)])
    matrices = (h * signs[:, 2]) @ (h * signs[:, 1]) @ (h * signs[:, 0])  # H D3 H D2 H D1
    whole = width // row.bits * row.bits
    normals = matrices[:, :whole, : q.shape[-1]].reshape(-1, row.bits, q.shape[-1]).astype(q.dtype)
    flat = normals.reshape(-1, q.shape[-1]).T
    own, other = (
        (over_largest(x, np) @ flat > 0).reshape(len(x), -1, row.bits) for x in (q, k)
    )  # as computed, also where a sign ties
    met = np.stack([(own[i] == other).all(axis=-1).sum(axis=-1) for i in range(len(q))])
    with precision(256):
        values = [[ball(float(x)) for x in line] for line in v]
        return [
            [
                sum((int(m) * x for m, x in zip(line, column, strict=True)), ball(0)) / len(normals)
                for column in zip(*values, strict=True)
            ]
            for line in met
        ]


def _unit(row: list[Any]) -> list[Any]:
    """Divide by the Euclidean norm; a row of exact zeros stays zero, and one that cannot be told
    from zero could be any unit vector.
    """
    norm = sum((x * x for x in row), ball(0)).sqrt()
    if all(x == 0 for x in row):
        return row
    return [x / norm for x in row] if norm > 0 else [ball(0) for _ in row]


def row_errors(value: HostArray, enclosure: Rows) -> HostArray:
    """Return, for each row, a number certainly not less than its largest absolute error."""
    return np.array(
        [max_error(value[i : i + 1], enclosure[i : i + 1])[1] for i in range(value.shape[0])]
    )
