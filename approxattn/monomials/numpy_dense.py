"""The scores of one causal chunk on NumPy arrays, for `numpy_contraction` and `numpy_adjoint`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from approxattn._arrays import HostArray
from approxattn.monomials.dense import derivative, radix
from approxattn.monomials.numpy_features import Scratch
from approxattn.monomials.parts.powers import powers, scales

BLOCK = 128
"""Queries that share their scores. *Chosen*: against a chunk of keys they fill some 100 KiB in
float32.
"""


class Triangle:
    """Sums over j <= i within one chunk, and the memory they need."""

    def __init__(self, chunk: int, dtype: np.dtype[Any]) -> None:
        block = min(BLOCK, chunk)
        self._scores, self._weights, self._pairs = (Scratch(block * chunk, dtype) for _ in range(3))
        self._below = np.tri(block, dtype=dtype)

    def add_sums(
        self,
        x: HostArray,
        y: HostArray,
        values: HostArray,
        coefficients: tuple[float, ...],
        out: HostArray,
        degrees: tuple[int, ...] = (),
        parts: HostArray | None = None,
    ) -> None:
        """Add sum_j P(x_i . y_j) values_j to out, and the parts of its last column to `parts`;
        shapes (n, d), (n, d), (n, m), (n, m), (degrees, n).
        """
        last = np.ascontiguousarray(values[:, -1]) if degrees else values
        factors = scales(coefficients, degrees)
        for rows in _rows(x.shape[0]):
            out[rows] += self._weights_of(x, y, rows, coefficients) @ values[: rows.stop]
            if parts is not None and degrees:
                for k, power in enumerate(self._powers(rows, degrees)):
                    parts[k, rows] += factors[k] * (power @ last[: rows.stop])

    def add_gradient(
        self,
        x: HostArray,
        left: HostArray,
        y: HostArray,
        right: HostArray,
        coefficients: tuple[float, ...],
        out: HostArray,
    ) -> None:
        """Add sum_j P'(x_i . y_j) (left_i . right_j) y_j to out; shapes (n, d), (n, m), (n, d), (n,
        m), (n, d).
        """
        slopes = derivative(coefficients)
        for rows in _rows(x.shape[0]):
            p = self._weights_of(x, y, rows, slopes)
            p *= np.matmul(left[rows], right[: rows.stop].T, out=self._pairs.shaped(*p.shape))
            out[rows] += p @ y[: rows.stop]

    def _weights_of(
        self, x: HostArray, y: HostArray, rows: slice, coefficients: tuple[float, ...]
    ) -> HostArray:
        shape = (rows.stop - rows.start, rows.stop)
        scores = np.matmul(x[rows], y[: rows.stop].T, out=self._scores.shaped(*shape))
        p = horner_into(self._weights.shaped(*shape), scores, coefficients)
        p[:, rows] *= self._below[: shape[0], : shape[0]]
        return p

    def _powers(self, rows: slice, degrees: tuple[int, ...]) -> Iterator[HostArray]:
        """Yield the powers of the scores that `_weights_of` has left, divided by the radix."""
        shape = (rows.stop - rows.start, rows.stop)
        y, z = self._scores.shaped(*shape), self._pairs.shaped(*shape)
        y[:, rows] *= self._below[: shape[0], : shape[0]]
        return powers(y, degrees, lambda a, b: np.multiply(a, b, out=z))


def _rows(n: int) -> list[slice]:
    return [slice(first, min(first + BLOCK, n)) for first in range(0, n, BLOCK)]


def horner_into(total: HostArray, x: HostArray, coefficients: tuple[float, ...]) -> HostArray:
    """Set `total` to P(x), as `dense.horner` does, and return it; x is scaled in place."""
    e = radix(coefficients)
    first, *rest = (math.ldexp(c, e * t) for t, c in enumerate(coefficients))
    if not rest:
        total[...] = first
        return total
    if e:
        x *= 2.0**-e
    np.multiply(x, rest[-1], out=total)
    for c in reversed(rest[:-1]):
        total += c
        total *= x
    total += first
    return total
