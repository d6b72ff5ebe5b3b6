"""What the features of blocks of tokens are for, whoever makes them.

A block is as long as a chunk of `contraction.chunk_length`, so that K of `kernel` counts the same
additions everywhere; only how many blocks share a step belongs to the memory (`_arrays.portions`).
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar

from approxattn import _arrays
from approxattn._arrays import Array, Namespace, portions
from approxattn.monomials.contraction import chunk_length
from approxattn.monomials.device.runs import Run, runs
from approxattn.monomials.index import rank


class Blocks(abc.ABC):
    """Features for one pair (d, g), their sums and their adjoint.

    Parameters
    ----------
    like : array, shape (..., d)
        An array of the device and dtype.
    coefficients : tuple of float
        c_0 ... c_g of P.

    Attributes
    ----------
    copies : int
        How many arrays of the size of the features are held while they are made.
    """

    copies: ClassVar[int]

    def __init__(self, like: Array, coefficients: tuple[float, ...], xp: Namespace) -> None:
        self.degree, self.d, self.xp = len(coefficients) - 1, int(like.shape[-1]), xp
        self.rank, self.dtype, self._like = rank(self.d, self.degree), like.dtype, like
        self.length = chunk_length(self.d, self.degree)
        self.where: dict[str, Any] = {"device": _arrays.device(like)}

    @abc.abstractmethod
    def columns(self, x: Array) -> Array:
        """Return x, shape (n, d), as `features` and `back` take it."""

    @abc.abstractmethod
    def features(self, columns: Array, run: Run) -> Array:
        """Return the monomials of a run of tokens, shape (blocks, r, length)."""

    @abc.abstractmethod
    def no_state(self, m: int) -> Array:
        """Return the unweighted state of no key, shape (r, m), for `add`."""

    @abc.abstractmethod
    def add(self, carry: Array, parts: Array, *, prefixes: bool) -> tuple[Array, Array | None]:
        """Return the sum of `carry`, which may be overwritten, and parts, shape (blocks, r, m); and
        the weighted state before each block, shape (blocks, r, m), if wanted.
        """

    @abc.abstractmethod
    def weighted(self, carry: Array) -> Array:
        """Return the state of all that was added, in the dtype of the tokens, shape (r, m)."""

    @abc.abstractmethod
    def back(self, columns: Array, run: Run, state: Array, left: Array) -> Array:
        """Return the gradient of left_i . (phi(x_i)^T S) with respect to the tokens of a run; left
        and states of shapes (blocks, length, m) and (blocks or 1, r, m) -> (blocks length, d).
        """

    def key_runs(self, n: int, m: int, *, causal: bool = False, back: bool = False) -> list[Run]:
        """Return the runs of blocks that sums over keys, with m columns, are taken in."""
        return runs(n, self.length, portions.at_once(self._like, 1, self._held(m, causal, back)))

    def query_runs(self, n: int, m: int, *, back: bool = False) -> list[Run]:
        """Return runs of one block each: no sum goes over queries."""
        together = portions.at_once(self._like, 1, self._held(m, False, back))
        return runs(n, together * self.length, 1)

    def _held(self, m: int, causal: bool, back: bool) -> int:
        """Return how many numbers are held for a block: states and their sums, and the largest of
        features, own scores, and the way back, which come one after the other.
        """
        features, states = self.copies * self.rank * self.length, (4 if causal else 2) * self.rank
        scores = 5 * self.length**2 if causal else 0
        return states * m + max(features, scores, self._held_back(m) if back else 0)

    def _held_back(self, m: int) -> int:
        """Return what `back` holds for a block: the cotangents of features."""
        del m
        return self.rank * self.length
