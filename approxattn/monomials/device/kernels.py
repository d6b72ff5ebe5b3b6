"""Blocks of features by our kernels: monomials, sums of blocks in float64, and the adjoint."""

from __future__ import annotations

import functools
import itertools

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace, cuda
from approxattn.monomials.contraction import weights
from approxattn.monomials.device.blocks import Blocks
from approxattn.monomials.device.runs import Run
from approxattn.monomials.index import rank

ROWS_A_THREAD = 64
"""Monomials a thread makes. *Chosen*: few enough that a thousand blocks of threads are busy."""

LARGEST_D = 2**16 - 2
"""Coordinates are counted from 1 in 16 bits."""

LARGEST_DEGREE = 12
"""*Chosen*: a thread holds that many factors in registers; higher degrees need d = 1 or 2."""


@functools.lru_cache(maxsize=32)
def coordinates(d: int, degree: int) -> HostArray:
    """Return the factors of every monomial in the order of `index`, counted from 1, increasing, 0
    where there are none left: uint16, shape (r, degree); read-only.
    """
    rows = np.zeros((rank(d, degree), degree), np.uint16)
    end = 1
    for t in range(1, degree + 1):
        count = rank(d, t) - end
        factors = itertools.combinations_with_replacement(range(1, d + 1), t)
        flat = np.fromiter(itertools.chain.from_iterable(factors), np.uint16, count * t)
        rows[end : end + count, :t] = flat.reshape(count, t)
        end += count
    rows.setflags(write=False)
    return rows


def serves(d: int, degree: int, *arrays: Array) -> bool:
    """Return whether our kernels take these arrays and settings."""
    fits = 1 <= degree <= LARGEST_DEGREE and 1 <= d <= LARGEST_D
    return fits and cuda.ready(*arrays)


def pull_back_threads(d: int, itemsize: int) -> int:
    """Return the threads of a block whose d sums each fit what any block gets; 0 if too few do."""
    return next((t for t in (128, 64, 32) if t * d * itemsize <= cuda.UNASKED), 0)


def serves_gradient(d: int, degree: int, *arrays: Array) -> bool:
    """Return whether they take these for the gradient too."""
    return serves(d, degree, *arrays) and pull_back_threads(d, arrays[0].dtype.itemsize) > 0


class Kernels(Blocks):
    """The kernels for one pair (d, g), with their tables on the device."""

    copies = 1  # monomials are made where they stay

    def __init__(self, like: Array, coefficients: tuple[float, ...], xp: Namespace) -> None:
        super().__init__(like, coefficients, xp)
        self._launch = cuda.launcher("monomials", like, DEGREE=self.degree)
        # writable copies: a library may refuse others
        self._coordinates = _arrays.from_host(np.array(coordinates(self.d, self.degree)), like)
        self._weights = _arrays.from_host(np.array(weights(coefficients, self.d)), like)

    def columns(self, x: Array) -> Array:
        """Return x as the kernels take it: (d, n)."""
        return _arrays.contiguous(self.xp.matrix_transpose(x))

    def features(self, columns: Array, run: Run) -> Array:
        """Return the monomials of a run of tokens, shape (blocks, r, length)."""
        phi = self._empty(run.blocks, self.rank, run.length)
        slices = min(-(-self.rank // ROWS_A_THREAD), 65535)
        grid = cuda.cells(run.blocks * run.length), slices
        self._launch(
            "aa_features",
            grid,
            cuda.THREADS,
            *(columns, columns.shape[1], self._coordinates, self.rank),
            *(run.first, run.blocks, run.length, phi),
        )
        return phi

    def no_state(self, m: int) -> Array:
        """Return the unweighted state of no key, float64, shape (r, m)."""
        return self.xp.zeros((self.rank, m), dtype=self.xp.float64, **self.where)

    def add(self, carry: Array, parts: Array, *, prefixes: bool) -> tuple[Array, Array | None]:
        """Add parts, shape (blocks, r, m), to `carry` in place; return it, and the weighted state
        before each block, shape (blocks, r, m), if wanted.
        """
        blocks, r, m = parts.shape
        before = self._empty(blocks, r, m) if prefixes else None
        parts = _arrays.contiguous(parts)
        arguments = parts, blocks, r * m, m, self._weights, carry, before
        self._launch("aa_running_sum", (cuda.cells(r * m),), cuda.THREADS, *arguments)
        return carry, before

    def weighted(self, carry: Array) -> Array:
        """Return the state of all that was added, in the dtype of the tokens, shape (r, m)."""
        return self.xp.astype(carry * self._weights[:, None], self.dtype)

    def back(self, columns: Array, run: Run, state: Array, left: Array) -> Array:
        """Return the gradient of left_i . (phi(x_i)^T S) with respect to the tokens of a run; left
        and states of shapes (blocks, length, m) and (blocks or 1, r, m) -> (blocks length, d).
        """
        cotangent = self.xp.matmul(state, self.xp.matrix_transpose(left))
        gradient = self._empty(self.d, run.blocks * run.length)
        threads = pull_back_threads(self.d, columns.dtype.itemsize)
        self._launch(
            "aa_pull_back",
            (cuda.cells(run.blocks * run.length, threads),),
            threads,
            *(_arrays.contiguous(columns[:, run.tokens]), gradient.shape[1]),
            *(self._coordinates, self.rank, 0, run.blocks, run.length),
            *(_arrays.contiguous(cotangent), np.int32(self.d), gradient),
            shared=threads * self.d * columns.dtype.itemsize,
        )
        return self.xp.matrix_transpose(gradient)

    def _empty(self, *shape: int) -> Array:
        """Return an array of the dtype that a kernel will fill."""
        return self.xp.empty(shape, dtype=self.dtype, **self.where)
