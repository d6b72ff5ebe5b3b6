"""Small attention problems that bring out what goes wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from approxattn.testing.calls import Host

SHORT = (1, 2, 3, 5, 10, 16)
"""Numbers of tokens of problems of every kind, those of LAPACK's tests."""

LONG = (15, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000)
"""Further numbers: kernels work in blocks of 16 to 256 tokens, and go wrong where one ends."""

SIZES = (*SHORT, *LONG)
"""The numbers of tokens of an examination that is given no others."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Queries, keys and values of one head, on the host.

    Parameters
    ----------
    name : str
        What it is, for the report.
    q : ndarray of shape (n_q, d)
        Queries.
    k : ndarray of shape (n_k, d)
        Keys.
    v : ndarray of shape (n_k, dv)
        Values.
    """

    name: str
    q: Host
    k: Host
    v: Host

    def astype(self, dtype: str) -> Problem:
        """The problem with its numbers rounded."""
        return replace(self, q=self.q.astype(dtype), k=self.k.astype(dtype), v=self.v.astype(dtype))


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Numbers of tokens that a function takes.

    Parameters
    ----------
    multiple_of : int
        What divides them all.
    most : int or None
        The largest; None when there is none.
    """

    multiple_of: int = 1
    most: int | None = None

    def has(self, n: int) -> bool:
        """Whether n tokens are among them."""
        return n % self.multiple_of == 0 and (self.most is None or n <= self.most)

    def up(self, n: int) -> int:
        """Return n rounded up to a multiple."""
        return -(-n // self.multiple_of) * self.multiple_of


def lengths_for(sizes: Sequence[int] | None, multiple_of: int) -> Lengths:
    """Return what a function takes that is tried at `sizes`: no more tokens than the largest.

    Raises
    ------
    ValueError
        When a size is not a positive multiple.
    """
    if not multiple_of >= 1:
        msg = f"multiple_of(={multiple_of}) must be at least 1: it divides every number of tokens"
        raise ValueError(msg)
    if sizes is None:
        return Lengths(multiple_of=multiple_of)
    if not sizes or any(n < 1 or n % multiple_of for n in sizes):
        msg = (
            f"sizes(={list(sizes)}) must be positive multiples of multiple_of(={multiple_of}), at "
            "least one of them: leave sizes out to have them chosen"
        )
        raise ValueError(msg)
    return Lengths(multiple_of=multiple_of, most=max(sizes))


def sizes_for(lengths: Lengths, sizes: Sequence[int] | None = None) -> tuple[int, ...]:
    """Return the numbers of tokens of an examination, ascending: those given, or `SIZES`."""
    return tuple(sorted({lengths.up(n) for n in (SIZES if sizes is None else sizes)}))


def fixed_problems(
    rng: np.random.Generator, sizes: Sequence[int] = tuple(sorted(SIZES)), d: int = 4, dv: int = 3
) -> Iterator[Problem]:
    """Yield Gaussian tokens, ties, zero rows, duplicated keys, large scores, and scores that are
    all negative but one; of more than 16 tokens, unless there are no fewer, Gaussian ones only.
    """
    for n in sizes:
        q, k, v = rng.normal(size=(n, d)), rng.normal(size=(n, d)), rng.uniform(-3, 3, (n, dv))
        yield Problem(name=f"Gaussian, n = {n}", q=q, k=k, v=v)
        if n > max(SHORT[-1], min(sizes)):
            continue
        yield Problem(
            name=f"ties, n = {n}",
            q=np.rint(q),
            k=np.rint(k)[rng.integers(0, min(n, 2), n)],
            v=np.rint(v),
        )
        yield Problem(name=f"zero queries, n = {n}", q=0 * q, k=k, v=v)
        yield Problem(name=f"large scores, n = {n}", q=8 * q, k=8 * k, v=v)
    yield from _negative_scores(sizes, d, dv)


def _negative_scores(sizes: Sequence[int], d: int, dv: int) -> Iterator[Problem]:
    """Scores of -3, and the last key's of 0.5: an odd Taylor polynomial is negative there."""
    n = min((n for n in sizes if n >= 3), default=0)
    if not n:
        return
    k, v = np.full((n, 1), -3.0), np.arange(1.0, n + 1)[:, None]
    k[-1], v[-1] = 0.5, 10.0
    q = math.sqrt(d) * np.ones((n, 1))
    yield Problem(
        name="negative scores", q=q * np.eye(1, d), k=k * np.eye(1, d), v=v * np.ones((1, dv))
    )
