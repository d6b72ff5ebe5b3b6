"""The scores of causal chunks on NumPy arrays, for `numpy_contraction` and `numpy_adjoint`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from approxattn._arrays import HostArray
from approxattn.monomials.dense import derivative, radix
from approxattn.monomials.numpy_features import Scratch
from approxattn.monomials.parts.powers import powers, scales

BLOCK = 64
"""Queries of a chunk that share their scores. *Chosen*: more of them look at more keys that the
mask hides, fewer make thin products.
"""

SCORES = 2**18
"""Scores made at once, of several chunks. *Chosen*: 1 MiB in float32; fewer take as long to ask for
as to multiply.
"""


class Triangle:
    """Sums over j <= i within each of some chunks, and the memory they need."""

    def __init__(self, chunk: int, dtype: np.dtype[Any], chunks: int) -> None:
        block = min(BLOCK, chunk)
        self.chunk, self.together = chunk, max(1, min(chunks, SCORES // max(1, block * chunk)))
        size = block * chunk * self.together
        self._scores, self._weights, self._pairs = (Scratch(size, dtype) for _ in range(3))
        self._below = np.ascontiguousarray(np.tri(block, dtype=dtype).T)

    def spans(self, n: int) -> list[tuple[slice, tuple[int, int]]]:
        """Return runs of n tokens, each with the number of its chunks and their common length."""
        chunk, full = self.chunk, n - n % self.chunk
        found = [
            (slice(start, min(start + self.together * chunk, full)), chunk)
            for start in range(0, full, self.together * chunk)
        ]
        rest = [(slice(full, n), n - full)] if full < n else []
        return [
            (span, ((span.stop - span.start) // length, length)) for span, length in found + rest
        ]

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
        shapes (chunks, n, d), (chunks, n, d), (chunks, n, m), (chunks, n, m), (degrees, chunks, n).
        """
        last = np.ascontiguousarray(values[:, None, :, -1]) if degrees else values
        factors = scales(coefficients, degrees)
        for rows in _rows(x.shape[1]):
            p = self._weights_of(x, y, rows, coefficients)
            out[:, rows] += np.matmul(p.swapaxes(1, 2), values[:, : rows.stop])
            if parts is not None and degrees:
                for k, power in enumerate(self._powers(p.shape, degrees)):
                    part = np.matmul(last[..., : rows.stop], power)[:, 0]
                    part *= factors[k]
                    parts[k, :, rows] += part

    def add_gradient(
        self,
        x: HostArray,
        left: HostArray,
        y: HostArray,
        right: HostArray,
        coefficients: tuple[float, ...],
        out: HostArray,
    ) -> None:
        """Add sum_j P'(x_i . y_j) (left_i . right_j) y_j to out; shapes (chunks, n, d), (chunks, n,
        m), (chunks, n, d), (chunks, n, m), (chunks, n, d).
        """
        slopes = derivative(coefficients)
        for rows in _rows(x.shape[1]):
            p = self._weights_of(x, y, rows, slopes)
            turned = left[:, rows].swapaxes(1, 2)
            p *= np.matmul(right[:, : rows.stop], turned, out=self._pairs.shaped(*p.shape))
            out[:, rows] += np.matmul(p.swapaxes(1, 2), y[:, : rows.stop])

    def _weights_of(
        self, x: HostArray, y: HostArray, rows: slice, coefficients: tuple[float, ...]
    ) -> HostArray:
        """Return P of the scores, shape (chunks, keys, queries): what the mask hides lies in one
        run.

        Scores that are 0 make all terms of P 0 but the constant.
        """
        queries = rows.stop - rows.start
        shape, turned = (x.shape[0], rows.stop, queries), x[:, rows].swapaxes(1, 2)
        scores = np.matmul(y[:, : rows.stop], turned, out=self._scores.shaped(*shape))
        below = self._below[:queries, :queries]
        scores[:, rows] *= below
        p = self._weights.shaped(*shape)
        constant = powers_into(p, scores, coefficients)
        p[:, : rows.start] += constant
        p[:, rows] += np.multiply(below, constant, out=self._pairs.shaped(*below.shape))
        return p

    def _powers(self, shape: tuple[int, ...], degrees: tuple[int, ...]) -> Iterator[HostArray]:
        """Yield the powers of the scores that `_weights_of` has left, divided by the radix."""
        y, z = self._scores.shaped(*shape), self._pairs.shaped(*shape)
        return powers(y, degrees, lambda a, b: np.multiply(a, b, out=z))


def _rows(n: int) -> list[slice]:
    return [slice(first, min(first + BLOCK, n)) for first in range(0, n, BLOCK)]


def horner_into(total: HostArray, x: HostArray, coefficients: tuple[float, ...]) -> HostArray:
    """Set `total` to P(x), as `dense.horner` does, and return it; x is scaled in place."""
    total += powers_into(total, x, coefficients)
    return total


def powers_into(total: HostArray, x: HostArray, coefficients: tuple[float, ...]) -> float:
    """Set `total` to P(x) less its constant, which is returned; x is scaled in place."""
    e = radix(coefficients)
    first, *rest = (math.ldexp(c, e * t) for t, c in enumerate(coefficients))
    if not rest:
        total[...] = 0
        return first
    if e:
        x *= 2.0**-e
    np.multiply(x, rest[-1], out=total)
    for c in reversed(rest[:-1]):
        total += c
        total *= x
    return first
