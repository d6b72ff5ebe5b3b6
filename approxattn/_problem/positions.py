"""A bias that is a function of positions: evaluated by blocks, never held in full.

A function is asked for blocks of at most `PAIRS_AT_ONCE` numbers. One pass, when a problem is
posed, checks them and finds the largest of each row; a record that knows its own sizes (`ALiBi`)
needs none.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_integer
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem.bias import (
    Bias,
    Span,
    check_bias,
    check_numbers,
    stacked,
    taken_items,
    visible_by_rows,
)
from approxattn._problem.visible import Visibility

PAIRS_AT_ONCE, KEYS_AT_ONCE = 2**20, 1024
"""Numbers asked for at one time, over all leading indices, and keys among them. *Chosen*: as the
scores that they are added to.
"""

Numbers = Callable[[HostArray, HostArray], Array]
"""From numbers of queries and of keys to the bias of all pairs, of which the last two axes are in
full.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class FunctionBias(Bias):
    """A bias that is evaluated where it is needed.

    Attributes
    ----------
    at : callable
        The numbers of some pairs, in the dtype computed in.
    largest : ndarray, shape (..., n_q)
        Upper bounds on the finite ones of each row in size.
    hidden : bool
        Whether one may be -inf.
    n_k : int
        Number of keys.
    """

    at: Numbers
    largest: HostArray
    hidden: bool
    n_k: int
    rounded: float
    xp: Namespace

    def sizes(self) -> HostArray:
        """Return what was found when the problem was posed."""
        return self.largest

    def hides(self) -> bool:
        """Return what was found when the problem was posed."""
        return self.hidden

    def block(self, rows: Span, keys: Span) -> Array:
        """Return them evaluated now."""
        return self.at(np.arange(*rows), np.arange(*keys))

    def item(self, index: tuple[int, ...], batch: tuple[int, ...]) -> Bias:
        """Return those of one leading index; the function is still asked for all."""

        def at(rows: HostArray, keys: HostArray) -> Array:
            found: Array = self._full(batch, rows, keys)
            return found[(*index, ...)]

        # of the item, whose only axis is that of the queries
        return replace(self, at=at, largest=self.largest[index])

    def items(self, numbers: HostArray, batch: tuple[int, ...]) -> Bias:
        """Return those of some leading indices; the function is still asked for all."""

        def at(rows: HostArray, keys: HostArray) -> Array:
            return taken_items(self._full(batch, rows, keys), numbers, batch, self.xp)

        sizes = self.largest.reshape(-1, self.largest.shape[-1])[numbers]
        return replace(self, at=at, largest=sizes)

    def rows(self, numbers: HostArray) -> Bias:
        """Return those of some queries."""

        def at(rows: HostArray, keys: HostArray) -> Array:
            return self.at(numbers[rows], keys)

        return replace(self, at=at, largest=self.largest[..., numbers])

    def pieces(self, places: Sequence[tuple[Span, Span]], batch: tuple[int, ...]) -> Bias:
        """Return those of blocks of pairs."""

        def at(rows: HostArray, keys: HostArray) -> Array:
            parts = [self.at(rows + first, keys + start) for (first, _), (start, _) in places]
            return stacked(parts, batch, self.xp)

        sizes = [self.largest[..., first:last] for (first, last), _ in places]
        whole = sizes[0] if len(sizes) == 1 else np.stack(sizes)
        start, end = places[0][1]
        return replace(self, at=at, largest=whole, n_k=end - start)

    def visible(self, seen: Visibility, key_mask: HostArray | None) -> HostArray:
        """Return the counts, by rows."""
        items = max(1, math.prod(self.largest.shape[:-1]))
        step = max(1, PAIRS_AT_ONCE // (items * max(1, self.n_k)))
        return visible_by_rows(self, seen, key_mask, step)

    def _full(self, batch: tuple[int, ...], rows: HostArray, keys: HostArray) -> Array:
        return self.xp.broadcast_to(self.at(rows, keys), (*batch, rows.size, keys.size))


@dataclass(frozen=True, eq=False, repr=False)
class ALiBi:
    """The bias -slope |i - j| of a query at position i and a key at position j.

    Parameters
    ----------
    slopes : array of floats, broadcastable to the leading axes
        One for each head: shape (heads,) where heads are the last leading axis. NumPy, or anything
        that `numpy.asarray` takes.

    Raises
    ------
    TypeError
        If the slopes are no floats.
    ValueError
        If one is not finite.

    Notes
    -----
    Press, Smith & Lewis (2022), "Train Short, Test Long" (wording unverified). No array of all
    pairs is made, and no pass over them to find the largest: the certificate counts the rounding of
    slope times distance.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> q, k, v = np.random.default_rng(0).normal(size=(3, 8, 100, 16))
    >>> out = aa.attention(q, k, v, aa.Exact(), causal=True, bias=aa.ALiBi.of_heads(8))
    >>> bool(out.certificate.rows.max() < 1e-12)
    True
    """

    slopes: HostArray

    def __post_init__(self) -> None:
        found = np.asarray(self.slopes)
        if found.dtype.kind != "f":
            msg = f"slopes has dtype {found.dtype}: they must be floats, one for each head"
            raise TypeError(msg)
        if not np.all(np.isfinite(found)):
            msg = f"slopes(={self.slopes!r}) must be finite"
            raise ValueError(msg)
        own = np.array(found, dtype=np.float64)
        own.setflags(write=False)
        object.__setattr__(self, "slopes", own)

    @classmethod
    def of_heads(cls, heads: int) -> ALiBi:
        """Return the slopes of the paper for a number of heads.

        For a power of two h these are 2^(-8 m / h), m = 1..h. Otherwise those of the power below,
        and every second one of the power above, as the authors' program has it.

        Parameters
        ----------
        heads : int
            Number of heads, at least 1.

        Raises
        ------
        TypeError, ValueError
            If it is no int, or below 1.
        """
        count = check_integer("heads", heads, 1, 2**20)
        low = 2 ** (count.bit_length() - 1)
        first = _powers(low)
        return cls(np.concatenate([first, _powers(2 * low)[::2][: count - low]]))

    def __call__(self, rows: Array, columns: Array) -> Array:
        """Return the bias for positions of queries, shape (r, 1), and of keys, shape (1, c)."""
        xp = _arrays.namespace(rows=rows, columns=columns)
        i, j = (_arrays.cast(x, "float64", xp) for x in (rows, columns))
        return _arrays.from_host(-self.slopes[..., None, None], rows) * xp.abs(i - j)

    def __repr__(self) -> str:
        return f"ALiBi({self.slopes.tolist()})"

    def largest(self, rows: HostArray, n_k: int) -> HostArray:
        """Return upper bounds on the bias of queries at these positions and keys at 0..n_k - 1 in
        size, shape (..., rows).
        """
        far = np.maximum(np.abs(rows), np.abs(rows - (n_k - 1))).astype(np.float64)
        return np.asarray(np.abs(self.slopes[..., None]) * far * (1 + 2.0**-50))


def _powers(heads: int) -> HostArray:
    return np.asarray(2.0 ** (-8.0 * np.arange(1, heads + 1) / heads))


def checked_bias(
    bias: Any, batch: tuple[int, ...], seen: Visibility, compute: str, q: Array
) -> Bias | None:
    """Return the bias given, an array or a function of positions."""
    if bias is None:
        return None
    xp = _arrays.namespace(q=q)
    if callable(bias):
        return check_function(bias, batch, seen, compute, q, xp)
    return check_bias(bias, batch, seen.n_q, seen.n_k, compute, xp)


def check_function(
    bias: Callable[[Array, Array], Array],
    batch: tuple[int, ...],
    seen: Visibility,
    compute: str,
    like: Array,
    xp: Namespace,
) -> Bias:
    """Return a function of positions as a bias.

    Raises TypeError unless it returns arrays of floats of the library and on the device of `like`,
    ValueError where one does not broadcast to (..., rows, columns), or holds NaN, +inf, or numbers
    near overflow.
    """
    n_q, n_k = seen.n_q, seen.n_k
    at = functools.partial(_evaluated, bias, batch, seen.offset, compute, like)
    u = _arrays.unit_roundoff(compute)
    if isinstance(bias, ALiBi):
        sizes, hides = _sizes_of_alibi(bias, batch, seen, compute), False
        rounded = u + 4 * 2.0**-53
    else:
        sizes, hides = _sizes_of_function(at, batch, n_q, n_k, xp)
        rounded = 2 * u  # blocks of other shapes may differ in the last digit
    return FunctionBias(at=at, largest=sizes, hidden=hides, n_k=n_k, rounded=rounded, xp=xp)


def _evaluated(
    bias: Callable[[Array, Array], Array],
    batch: tuple[int, ...],
    offset: int,
    compute: str,
    like: Array,
    rows: HostArray,
    keys: HostArray,
) -> Array:
    """Return the bias of pairs, checked, the last two axes in full."""
    i, j = (rows + offset)[:, None], keys[None, :]
    found = bias(_arrays.from_host(i, like), _arrays.from_host(j, like))
    what = "what the bias function returns"
    xp = _arrays.namespace(q=like, **{what: found})
    check_numbers(found, (*batch, rows.size, keys.size), compute, xp, what)
    lead = tuple(found.shape[:-2])
    return xp.broadcast_to(_arrays.cast(found, compute, xp), (*lead, rows.size, keys.size))


def _sizes_of_function(
    at: Numbers, batch: tuple[int, ...], n_q: int, n_k: int, xp: Namespace
) -> tuple[HostArray, bool]:
    """Return the largest finite number of each row in size, and whether one is -inf."""
    sizes, hides = np.zeros((*batch, n_q)), False
    keys = min(n_k, KEYS_AT_ONCE)
    step = max(1, PAIRS_AT_ONCE // (max(1, math.prod(batch)) * keys))
    for first in range(0, n_q, step):
        rows = np.arange(first, min(first + step, n_q))
        for start in range(0, n_k, keys):
            block = at(rows, np.arange(start, min(start + keys, n_k)))
            finite = xp.isfinite(block)
            hides = hides or not bool(xp.all(finite))
            found = xp.max(xp.where(finite, xp.abs(block), xp.zeros_like(block)), axis=-1)
            part = sizes[..., first : first + rows.size]
            np.maximum(part, _arrays.to_float64(found), out=part)
    return sizes, hides


def _sizes_of_alibi(
    bias: ALiBi, batch: tuple[int, ...], seen: Visibility, compute: str
) -> HostArray:
    given = bias.slopes.shape
    try:
        fits = np.broadcast_shapes(given, batch) == batch
    except ValueError:
        fits = False
    if not fits:
        msg = f"slopes of ALiBi have shape {given}: they must broadcast to the leading axes {batch}"
        raise ValueError(msg)
    sizes = bias.largest(np.arange(seen.n_q) + seen.offset, seen.n_k)
    limit = _arrays.largest(compute) / 16
    if not np.all(sizes <= limit):
        msg = (
            f"bias of ALiBi reaches {np.max(sizes):.3g}: at most {limit:.3g} in size for "
            f"{compute}; lower the slopes"
        )
        raise ValueError(msg)
    return np.broadcast_to(sizes, (*batch, seen.n_q))
