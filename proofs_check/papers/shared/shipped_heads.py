"""The shipped attention heads in balls: weights, outputs, and norms from both sides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Head", "heads", "largest_singular_value", "stretch"]

_SQUARINGS = 16
"""The Gram matrix G is squared this often: d^(1/2^16) is what the trace loses. *Chosen*."""


class Head(NamedTuple):
    """One head: its name, unnormalised weights as rows and as a matrix of balls, their sums, and V.

    Row i of the weights is e^(s_ij - m_i) with an exact m_i, which cancels from every quotient.
    """

    name: str
    weights: list[list[Any]]
    matrix: Any
    sums: list[Any]
    values: Any


def heads() -> Iterator[Head]:
    """Every shipped head, at the precision of the moment."""
    from flint import arb, arb_mat

    from approxattn.data import minilm_heads
    from proofs_check.arithmetic.balls import matrix

    shipped = minilm_heads()
    for a, layer in enumerate(shipped.layers):
        for b, head in enumerate(shipped.heads):
            q, k, v = (matrix(x[a, b]) for x in (shipped.q, shipped.k, shipped.v))
            root = arb(q.ncols()).sqrt()
            near = shipped.q[a, b] @ shipped.k[a, b].T / q.ncols() ** 0.5
            shifts = [arb(x) for x in near.max(axis=1).tolist()]  # any numbers will do
            rows = (q * k.transpose() / root).tolist()
            weights = [[(s - m).exp() for s in row] for row, m in zip(rows, shifts, strict=True)]
            n = len(weights)
            whole = arb_mat(n, n, [w for row in weights for w in row])
            sums = [x for (x,) in (whole * arb_mat(n, 1, [1] * n)).tolist()]
            yield Head(f"layer {layer}, head {head}", weights, whole, sums, v)


def largest_singular_value(m: Any) -> tuple[Any, Any]:
    """Balls below and above the spectral norm of a ball matrix of few columns.

    1. G = M^T M has eigenvalues g_1 >= ... >= g_d >= 0 and |M|^2 = g_1.
    2. g_1^N <= tr G^N <= d g_1^N, so the N-th root of the trace lies within d^(1/N) of g_1.
    """
    from flint import arb

    gram = m.transpose() * m
    size = gram.trace()
    power = gram / size
    for _ in range(_SQUARINGS):
        power = power * power
    n, d = 2**_SQUARINGS, m.ncols()
    trace = power.trace()
    low, high = ((x.log() / n).exp() * size for x in (trace / d, trace))
    return arb(low).sqrt(), arb(high).sqrt()


def stretch(head: Head) -> Any:
    """A ball below the spectral norm of the weights with sum 1: the stretch of one vector.

    Any vector gives a lower bound; a few steps of the power method in floats find a good one.
    """
    from flint import arb, arb_mat

    p = np.array([[float(w) for w in row] for row in head.weights])
    p /= p.sum(axis=1, keepdims=True)
    x = np.ones(p.shape[1])
    for _ in range(8):
        x = p.T @ (p @ x)
        x /= np.abs(x).max()
    exact = arb_mat(len(x), 1, [arb(y) for y in x.tolist()])
    moved = (head.matrix * exact).tolist()
    squares = [(y / size) ** 2 for (y,), size in zip(moved, head.sums, strict=True)]
    return (sum(squares, arb(0)) / (exact.transpose() * exact)[0, 0]).sqrt()
