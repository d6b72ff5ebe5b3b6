"""Blocks of features by the array library alone, in few steps.

Features: a monomial of degree up to 2 s is a product of two of degree up to s (`index.halves`). So
those of degree up to g are read from tables and multiplied about log2 g times, with the g - 1
roundings of a product of g factors.

Adjoint (proved here). d/dx_a phi(x)^T s = sum_m p s_{x_a m} m(x), over monomials m of degree < g,
with p the power of x_a in x_a m: each monomial x_a m has derivative p m. So with D_a S the state
whose row m is p S_{x_a m},

    d/dx_a left . (phi(x)^T S) = left . (phi_{g-1}(x)^T D_a S):

one product with [D_1 S ... D_d S], made once a state, and a sum over the columns. No array holds a
cotangent of every feature.
"""

from __future__ import annotations

import functools

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn.monomials.contraction import weights
from approxattn.monomials.device.blocks import Blocks
from approxattn.monomials.device.runs import Run
from approxattn.monomials.index import halves, raised, rank


class Library(Blocks):
    """The features of any library of the standard, with their tables on the device."""

    copies = 2  # two rows of tables; their product takes the place of one

    def __init__(self, like: Array, coefficients: tuple[float, ...], xp: Namespace) -> None:
        super().__init__(like, coefficients, xp)
        self._weights = self._there(weights(coefficients, self.d)[:, None])
        self._steps = dict[int, list[tuple[Array, Array]]]()  # by degree

    @property
    def _below(self) -> int:
        """The number of monomials of degree < g."""
        return rank(self.d, self.degree - 1) if self.degree else 0

    def _halves(self, degree: int) -> list[tuple[Array, Array]]:
        """Return the tables of every step to a degree, the first one first."""
        if degree not in self._steps:
            steps, left = [], degree
            while left > 1:
                steps.append(halves(self.d, left))
                left = (left + 1) // 2
            there = [(self._there(a), self._there(b)) for a, b in reversed(steps)]
            self._steps[degree] = there
        return self._steps[degree]

    @functools.cached_property
    def _raised(self) -> tuple[Array, Array]:
        places, powers = raised(self.d, self.degree)
        return self._there(places.reshape(-1)), self._there(powers.reshape(-1, 1))

    def _there(self, table: HostArray) -> Array:
        """Return a table on the device: floats in the dtype of the tokens, and writable, since a
        library may refuse others.
        """
        name = _arrays.dtype_name(self._like) if table.dtype.kind == "f" else table.dtype.name
        return _arrays.from_host(np.array(table, dtype=name), self._like)

    def columns(self, x: Array) -> Array:
        """Return [1, x], shape (n, d + 1)."""
        ones = self.xp.ones((x.shape[0], 1), dtype=self.dtype, **self.where)
        return self.xp.concat([ones, x], axis=1)

    def features(self, columns: Array, run: Run) -> Array:
        """Return the monomials of a run of tokens, shape (blocks, r, length)."""
        return self._features(columns, run, self.degree)

    def _features(self, columns: Array, run: Run, degree: int) -> Array:
        xp = self.xp
        tokens = xp.reshape(columns[run.tokens, :], (run.blocks, run.length, self.d + 1))
        first = xp.matrix_transpose(tokens)
        if degree == 0:
            return first[:, :1, :]
        found = _arrays.contiguous(first)
        for one, other in self._halves(degree):
            more = xp.take(found, one, axis=1)
            more *= xp.take(found, other, axis=1)
            found = more
        return found

    def no_state(self, m: int) -> Array:
        """Return the unweighted state of no key, shape (r, m)."""
        return self.xp.zeros((self.rank, m), dtype=self.dtype, **self.where)

    def add(self, carry: Array, parts: Array, *, prefixes: bool) -> tuple[Array, Array | None]:
        """Return the sum of `carry` and parts, shape (blocks, r, m); and the weighted state before
        each block, shape (blocks, r, m), if wanted.
        """
        xp, blocks = self.xp, parts.shape[0]
        if not prefixes:
            return carry + (parts[0, ...] if blocks == 1 else xp.sum(parts, axis=0)), None
        # a few numbers a token, of one run
        if blocks == 1:
            return carry + parts[0, ...], carry[None, ...] * self._weights
        until = xp.cumulative_sum(xp.concat([carry[None, ...], parts], axis=0), axis=0)
        return until[-1, ...], until[:-1, ...] * self._weights

    def weighted(self, carry: Array) -> Array:
        """Return the state of all that was added, shape (r, m)."""
        return carry * self._weights

    def back(self, columns: Array, run: Run, state: Array, left: Array) -> Array:
        """Return the gradient of left_i . (phi(x_i)^T S) with respect to the tokens of a run; left
        and states of shapes (blocks, length, m) and (blocks or 1, r, m) -> (blocks length, d).
        """
        xp, (places, powers), m = self.xp, self._raised, state.shape[-1]
        turned = xp.take(state, places, axis=1) * powers
        turned = xp.reshape(turned, (state.shape[0], self._below, self.d * m))
        phi = self._features(columns, run, self.degree - 1)
        both = xp.matmul(xp.matrix_transpose(turned), phi)  # (blocks, d m, length)
        both = xp.reshape(both, (run.blocks, self.d, m, run.length))
        both *= xp.matrix_transpose(left)[:, None, :, :]
        found = xp.sum(both, axis=2)
        return xp.reshape(xp.matrix_transpose(found), (run.blocks * run.length, self.d))

    def _held_back(self, m: int) -> int:
        """Return what `back` holds for a block: features, products with the state, that itself."""
        features = self.copies * self._below * self.length
        return features + self.d * m * (self.length + 2 * self._below)
