"""Monomials of many blocks of tokens at one time, where a launch costs more than a block.

A block is as long as a chunk of `contraction.chunk_length`, so that K of `kernel` counts the same
additions; only how many blocks share a launch belongs to the device.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace, cuda
from approxattn.monomials.contraction import chunk_length, weights
from approxattn.monomials.index import degrees, rank

FEATURES_AT_ONCE = 2**26
"""Monomials held at one time. *Chosen*: 256 MiB in float32, some thousand launches for 2^23 rows.
"""

SCORES_AT_ONCE = 2**25
"""Scores of own blocks held at one time, under a causal mask. *Chosen*."""

ROWS_A_THREAD = 64
"""Monomials a thread makes. *Chosen*: few enough that a thousand blocks of threads are busy."""

LARGEST_D = 2**16 - 2
"""Coordinates are counted from 1 in 16 bits."""

LARGEST_DEGREE = 12
"""*Chosen*: a thread holds that many factors in registers; higher degrees need d = 1 or 2."""


@dataclass(frozen=True)
class Run:
    """Neighbouring whole blocks: tokens first ... first + blocks * length - 1."""

    first: int
    blocks: int
    length: int

    @property
    def tokens(self) -> slice:
        """The tokens as a slice."""
        return slice(self.first, self.first + self.blocks * self.length)


def runs(n: int, length: int, together: int) -> list[Run]:
    """Return 0 ... n-1 as runs of at most `together` blocks; what is no whole block comes last."""
    whole = n // length
    found = [
        Run(first * length, min(together, whole - first), length)
        for first in range(0, whole, max(together, 1))
    ]
    rest = n - whole * length
    return [*found, Run(whole * length, 1, rest)] if rest else found


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


class Device:
    """The kernels for one pair (d, g), with their tables on the device.

    Parameters
    ----------
    like : array, shape (n, d)
        An array of the device and dtype.
    coefficients : tuple of float
        c_0 ... c_g of P.
    """

    def __init__(self, like: Array, coefficients: tuple[float, ...], xp: Namespace) -> None:
        self.degree, self.d, self.xp = len(coefficients) - 1, int(like.shape[-1]), xp
        self.rank, self.dtype = rank(self.d, self.degree), like.dtype
        self.length = chunk_length(self.d, self.degree)
        self._launch = cuda.launcher("monomials", like, DEGREE=self.degree)
        # writable copies: a library may refuse others
        self._coordinates = _arrays.from_host(np.array(coordinates(self.d, self.degree)), like)
        self._weights = _arrays.from_host(np.array(weights(coefficients, self.d)), like)
        self._where: dict[str, Any] = {"device": _arrays.device(like)}

    def columns(self, x: Array) -> Array:
        """Return x, shape (n, d), as the kernels take it: (d, n)."""
        return _arrays.contiguous(self.xp.matrix_transpose(x))

    def empty(self, *shape: int) -> Array:
        """Return an array of the dtype that a kernel will fill."""
        return self.xp.empty(shape, dtype=self.dtype, **self._where)

    def key_runs(self, n: int, *, causal: bool = False) -> list[Run]:
        """Return the runs of blocks that sums over keys are taken in."""
        together = FEATURES_AT_ONCE // (self.rank * self.length)
        if causal:
            together = min(together, SCORES_AT_ONCE // self.length**2)
        return runs(n, self.length, max(1, together))

    def query_runs(self, n: int) -> list[Run]:
        """Return runs of one block each: no sum goes over queries."""
        return runs(n, max(1, FEATURES_AT_ONCE // self.rank), 1)

    def features(self, columns: Array, run: Run) -> Array:
        """Return the monomials of a run of tokens, shape (blocks, r, length)."""
        phi = self.empty(run.blocks, self.rank, run.length)
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
        """Return the unweighted state of no key, float64, shape (r, m), for `add`."""
        return self.xp.zeros((self.rank, m), dtype=self.xp.float64, **self._where)

    def add(self, carry: Array, parts: Array, *, prefixes: bool) -> Array | None:
        """Add parts, shape (blocks, r, m), to `carry` in place; return the weighted state before
        each block, shape (blocks, r, m), if wanted.
        """
        blocks, r, m = parts.shape
        before = self.empty(blocks, r, m) if prefixes else None
        parts = _arrays.contiguous(parts)
        arguments = parts, blocks, r * m, m, self._weights, carry, before
        self._launch("aa_running_sum", (cuda.cells(r * m),), cuda.THREADS, *arguments)
        return before

    def weighted(self, carry: Array) -> Array:
        """Return the state of all that was added, in the dtype of the tokens, shape (r, m)."""
        return self.xp.astype(carry * self._weights[:, None], self.dtype)

    def pull_back(self, columns: Array, run: Run, cotangent: Array, gradient: Array) -> None:
        """Set the columns of a run in `gradient`, shape (d, n), to J_phi(x_i)^T cotangent_i, the
        cotangents of shape (blocks, r, length).
        """
        threads = pull_back_threads(self.d, columns.dtype.itemsize)
        self._launch(
            "aa_pull_back",
            (cuda.cells(run.blocks * run.length, threads),),
            threads,
            *(columns, columns.shape[1], self._coordinates, self.rank),
            *(run.first, run.blocks, run.length, _arrays.contiguous(cotangent)),
            *(np.int32(self.d), gradient),
            shared=threads * self.d * columns.dtype.itemsize,
        )


def own_degrees(d: int, degree: int, asked: tuple[int, ...]) -> HostArray:
    """Return which monomials belong to which of the degrees asked for, shape (r, their number)."""
    return np.asarray((degrees(d, degree)[:, None] == np.asarray(asked)).astype(np.float64))


def blocks_of(x: Array, run: Run, xp: Namespace) -> Array:
    """Return the tokens of a run block by block, shape (n, c) -> (blocks, length, c)."""
    return xp.reshape(x[run.tokens, :], (run.blocks, run.length, x.shape[1]))


def flat_blocks(x: Array, xp: Namespace) -> Array:
    """Return blocks one behind the other, shape (blocks, length, c) -> (blocks length, c)."""
    return xp.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def each(runs_: list[Run], xp: Namespace, f: Any) -> Array:
    """Return what f gives for every run, one behind the other."""
    parts: Iterator[Array] = (f(run) for run in runs_)
    return xp.concat(list(parts), axis=0)
