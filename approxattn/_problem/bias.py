"""Numbers added to the scores: what they must be, and which queries they leave without keys.

They come as an array, or as a function of positions (`approxattn._problem.positions`). What holds
of both is a `Bias`: it hands out blocks, and follows a problem into its items and pieces.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem.visible import Visibility

Span = tuple[int, int]
"""A first number, and one past the last."""


class Bias(ABC):
    """Numbers added to the scores of a problem.

    Attributes
    ----------
    rounded : float
        Relative error of each, from the caller's numbers to those computed with.
    """

    rounded: float

    @abstractmethod
    def sizes(self) -> HostArray:
        """Return upper bounds on the finite ones of each row in size, broadcastable to (..., n_q),
        in float64.
        """

    @abstractmethod
    def hides(self) -> bool:
        """Return whether one may be -inf."""

    @abstractmethod
    def block(self, rows: Span, keys: Span) -> Array:
        """Return those of some queries and keys, broadcastable to (..., rows, keys)."""

    @abstractmethod
    def item(self, index: tuple[int, ...], batch: tuple[int, ...]) -> Bias:
        """Return those of one leading index."""

    @abstractmethod
    def items(self, numbers: HostArray, batch: tuple[int, ...]) -> Bias:
        """Return those of some leading indices, numbered through, on one leading axis."""

    @abstractmethod
    def rows(self, numbers: HostArray) -> Bias:
        """Return those of some queries."""

    @abstractmethod
    def pieces(self, places: Sequence[tuple[Span, Span]], batch: tuple[int, ...]) -> Bias:
        """Return those of queries and keys in a row: of several such blocks, all of one size, on a
        new first axis.
        """

    @abstractmethod
    def visible(self, seen: Visibility, key_mask: HostArray | None) -> HostArray:
        """Return how many keys each query sees, broadcastable to (..., n_q)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrayBias(Bias):
    """A bias held in full, or broadcast.

    Attributes
    ----------
    array : array, broadcastable to (..., n_q, n_k)
        In the dtype computed in.
    n_q, n_k : int
        Numbers of queries and keys.
    """

    array: Array
    n_q: int
    n_k: int
    rounded: float
    xp: Namespace

    def sizes(self) -> HostArray:
        """Return the largest of each row in size."""
        xp, x = self.xp, self.array
        sizes = xp.where(xp.isfinite(x), xp.abs(x), xp.zeros_like(x))
        return _arrays.to_float64(xp.max(sizes, axis=-1))

    def hides(self) -> bool:
        """Return whether one is -inf."""
        return bool(self.xp.any(self.array == -self.xp.inf))

    def block(self, rows: Span, keys: Span) -> Array:
        """Return a view; axes of 1 for all queries or keys stay."""
        x = self.array
        x = x if x.shape[-2] == 1 else x[..., rows[0] : rows[1], :]
        return x if x.shape[-1] == 1 else x[..., keys[0] : keys[1]]

    def item(self, index: tuple[int, ...], batch: tuple[int, ...]) -> Bias:
        """Return a view."""
        return self._of(self._full(batch)[(*index, ...)])

    def items(self, numbers: HostArray, batch: tuple[int, ...]) -> Bias:
        """Return a copy."""
        return self._of(taken_items(self._full(batch), numbers, batch, self.xp))

    def rows(self, numbers: HostArray) -> Bias:
        """Return a copy."""
        x = self.array
        if x.shape[-2] > 1:
            x = self.xp.take(x, _arrays.from_host(numbers, x), axis=-2)
        return self._of(x, n_q=numbers.size)

    def pieces(self, places: Sequence[tuple[Span, Span]], batch: tuple[int, ...]) -> Bias:
        """Return a view of one, a copy of several."""
        found = stacked([self.block(*place) for place in places], batch, self.xp)
        (first, last), (start, end) = places[0]
        return self._of(found, n_q=last - first, n_k=end - start)

    def visible(self, seen: Visibility, key_mask: HostArray | None) -> HostArray:
        """Return the counts."""
        return _visible_in(_arrays.to_host(self.array), seen, key_mask, (0, self.n_q))

    def _full(self, batch: tuple[int, ...]) -> Array:
        return self.xp.broadcast_to(self.array, (*batch, self.n_q, self.n_k))

    def _of(self, array: Array, n_q: int | None = None, n_k: int | None = None) -> Bias:
        n_q, n_k = self.n_q if n_q is None else n_q, self.n_k if n_k is None else n_k
        return ArrayBias(array=array, n_q=n_q, n_k=n_k, rounded=self.rounded, xp=self.xp)


def stacked(blocks: list[Array], batch: tuple[int, ...], xp: Namespace) -> Array:
    """Return the only block, or all of them on a new first axis before those of the batch."""
    if len(blocks) == 1:
        return blocks[0]
    ones = (1,) * (len(batch) + 2 - blocks[0].ndim)
    return xp.stack([xp.reshape(x, (*ones, *x.shape)) for x in blocks], axis=0)


def taken_items(x: Array, numbers: HostArray, batch: tuple[int, ...], xp: Namespace) -> Array:
    """Return the leading indices of these numbers, shape (*batch, ...) -> (m, ...)."""
    flat = xp.reshape(x, (int(np.prod(batch)), *x.shape[len(batch) :]))
    return xp.take(flat, _arrays.from_host(numbers, x), axis=0)


def check_bias(
    bias: Array, batch: tuple[int, ...], n_q: int, n_k: int, compute: str, xp: Namespace
) -> Bias:
    """Return an array as a bias in the dtype computed in; its leading axes stay as they are.

    Raises TypeError unless it is an array of floats, ValueError where it does not broadcast to
    (..., n_q, n_k), or holds NaN, +inf, or numbers near overflow.
    """
    check_numbers(bias, (*batch, n_q, n_k), compute, xp)
    wide = _arrays.cast(bias, compute, xp)
    wide = xp.reshape(wide, (*(1,) * (2 - wide.ndim), *wide.shape)) if wide.ndim < 2 else wide
    # to the dtype computed in
    rounded = _arrays.unit_roundoff(compute)
    return ArrayBias(array=wide, n_q=n_q, n_k=n_k, rounded=rounded, xp=xp)


def check_numbers(
    bias: Array, full: tuple[int, ...], compute: str, xp: Namespace, what: str = "bias"
) -> None:
    """Raise TypeError or ValueError where an array is no bias of the shape `full`."""
    if not _arrays.is_floating(bias):
        msg = (
            f"{what} has dtype {bias.dtype}: it must be floating; for a mask of pairs write "
            "where(seen, 0.0, -inf), for one of keys use key_mask"
        )
        raise TypeError(msg)
    given = tuple(bias.shape)
    try:
        fits = np.broadcast_shapes(given, full) == full
    except ValueError:
        fits = False
    if not fits:
        _refuse(f"{what} has shape {given}: it must broadcast to (..., n_q, n_k) = {full}")
    # -inf hides a pair
    sizes = xp.where(bias == -xp.inf, xp.zeros_like(bias), xp.abs(bias))
    limit = _arrays.largest(compute) / 16
    if not bool(xp.all(sizes <= limit)):
        _refuse(
            f"{what} reaches {_largest(sizes):.3g}: entries must be finite and at most {limit:.3g} "
            "in size, or -inf where a query must not see a key"
        )


def _largest(sizes: Array) -> float:
    host = _arrays.to_float64(sizes)
    return float(np.max(np.where(np.isnan(host), np.inf, host), initial=0.0))


def _visible_in(
    bias: HostArray, seen: Visibility, key_mask: HostArray | None, rows: Span
) -> HostArray:
    """Return how many keys some queries in a row see, shape (..., rows), given their bias."""
    first, stop = (end[..., rows[0] : rows[1], None] for end in seen.limits)
    numbers = np.arange(seen.n_k)
    pairs = (bias > -np.inf) & (first <= numbers) & (numbers < stop)
    pairs = pairs if key_mask is None else pairs & key_mask[..., None, :]
    return np.asarray(np.count_nonzero(pairs, axis=-1))


def visible_by_rows(
    bias: Bias, seen: Visibility, key_mask: HostArray | None, step: int
) -> HostArray:
    """Return the same of all queries, `step` at a time."""
    counts = []
    for first in range(0, seen.n_q, step):
        rows = first, min(first + step, seen.n_q)
        block = _arrays.to_host(bias.block(rows, (0, seen.n_k)))
        counts.append(_visible_in(block, seen, key_mask, rows))
    return np.concatenate(counts, axis=-1) if counts else np.zeros(seen.n_q, np.int64)


def _refuse(msg: str) -> NoReturn:
    raise ValueError(msg)
