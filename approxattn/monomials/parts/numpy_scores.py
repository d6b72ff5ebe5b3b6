"""`dense` on NumPy arrays: scores, their polynomial and their powers in memory allocated once."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import numpy as np

from approxattn._arrays import HostArray
from approxattn.monomials.dense import SCORE_BLOCK, derivative
from approxattn.monomials.numpy_dense import horner_into
from approxattn.monomials.numpy_features import Scratch
from approxattn.monomials.parts.powers import powers, scales

TOGETHER = 2**18
"""Scores made at once, of several items. *Chosen*: those of one block where n is large."""


def numpy_dense_sums(
    x: HostArray,
    y: HostArray,
    values: HostArray,
    coefficients: tuple[float, ...],
    causal: bool,
    degrees: tuple[int, ...] = (),
) -> tuple[HostArray, HostArray]:
    """Return sum_j P(x_i . y_j) values_j, over j <= i + n_y - n_x if causal, and the parts of the
    last column; shapes (..., n_x, d), (..., n_y, d), (..., n_y, m) -> (..., n_x, m), (..., n_x,
    number of degrees).
    """
    out = np.zeros((*x.shape[:-1], values.shape[-1]), x.dtype)
    parts = np.zeros((*x.shape[:-1], len(degrees)), x.dtype)
    room, factors = _Room(x, y, causal, 3 if degrees else 2), scales(coefficients, degrees)
    for a, b, v, of_a, parts_of_a in room.groups(x, y, values, out, parts):
        last = np.ascontiguousarray(v[..., -1:])
        for rows, keys in room.blocks:
            s, p, z = room.scores(a[:, rows], b[:, keys])
            horner_into(p, s, coefficients)  # leaves s divided by the radix
            room.hide(rows, keys, p)
            of_a[:, rows] += p @ v[:, keys]
            if not degrees:
                continue
            room.hide(rows, keys, s)
            for k, power in enumerate(powers(s, degrees, functools.partial(np.multiply, out=z))):
                part = (power @ last[:, keys])[..., 0]
                parts_of_a[:, rows, k] += factors[k] * part
    return out, parts


def numpy_dense_gradient(
    x: HostArray,
    left: HostArray,
    y: HostArray,
    right: HostArray,
    coefficients: tuple[float, ...],
    causal: bool,
) -> HostArray:
    """Return sum_j P'(x_i . y_j) (left_i . right_j) y_j, over j <= i if causal, shape (..., n_x,
    d).
    """
    out, slopes = np.zeros(x.shape, x.dtype), derivative(coefficients)
    room = _Room(x, y, causal, 3)
    for a, l, b, r, of_a in room.groups(x, left, y, right, out):
        for rows, keys in room.blocks:
            s, p, z = room.scores(a[:, rows], b[:, keys])
            horner_into(p, s, slopes)
            room.hide(rows, keys, p)
            p *= np.matmul(l[:, rows], r[:, keys].swapaxes(1, 2), out=z)
            of_a[:, rows] += p @ b[:, keys]
    return out


class _Room:
    """The blocks of scores of some items, and the memory of one block and of what is made of it."""

    def __init__(self, x: HostArray, y: HostArray, causal: bool, places: int) -> None:
        n_x, n_y = x.shape[-2], y.shape[-2]
        self.causal, self.earlier = causal, n_y - n_x
        size = min(n_x, SCORE_BLOCK) * min(n_y, SCORE_BLOCK)
        self.together = max(1, min(math.prod(x.shape[:-2]), TOGETHER // max(size, 1)))
        self._places = [Scratch(size * self.together, x.dtype) for _ in range(places)]
        self.blocks = list(self._blocks(n_x, n_y))

    def groups(self, *arrays: HostArray) -> Iterator[list[HostArray]]:
        """Yield them for so many items at a time, each with one leading axis."""
        flat = [a.reshape(math.prod(a.shape[:-2]), *a.shape[-2:]) for a in arrays]
        for start in range(0, len(flat[0]), self.together):
            yield [a[start : start + self.together] for a in flat]

    def scores(self, x: HostArray, y: HostArray) -> tuple[HostArray, HostArray, HostArray]:
        """Return x_i . y_j, and two places for what is made of it: one place where there are no
        more.
        """
        shape = *x.shape[:2], y.shape[1]
        s, *others = (place.shaped(*shape) for place in self._places)
        return np.matmul(x, y.swapaxes(1, 2), out=s), others[0], others[-1]

    def hide(self, rows: slice, keys: slice, a: HostArray) -> None:
        """Set what the mask hides to 0."""
        if self.causal and keys.stop > rows.start + self.earlier + 1:
            *_, n, m = a.shape
            seen = np.tri(n, m, rows.start + self.earlier - keys.start, dtype=np.bool_)
            np.copyto(a, 0, where=~seen)

    def _blocks(self, n_x: int, n_y: int) -> Iterator[tuple[slice, slice]]:
        for rows in _runs(n_x):
            for keys in _runs(rows.stop + self.earlier if self.causal else n_y):
                yield rows, keys


def _runs(n: int) -> list[slice]:
    return [slice(start, min(start + SCORE_BLOCK, n)) for start in range(0, n, SCORE_BLOCK)]
