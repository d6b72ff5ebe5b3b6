"""Which tokens a token sees: those that take part, of its own sequence, in the order of the layer.

For token i, with the window (l, r) of a layer:

    causal      j <= i,
    window      i - l <= j <= i + r,
    segments    j has the number of i,
    mask        j takes part.

The first three allow one run of tokens. So the largest x_j >= 0 that is seen is that of a run, with
0 for masked tokens (proved here):

1. Let M_p(a) be the largest of x_a, ..., x_{a + 2^p - 1}. M_0 is x, and M_{p+1}(a) is the larger of
   M_p(a) and M_p(a + 2^p).
2. m tokens from a on, 2^p <= m < 2^{p+1}, are covered by 2^p of them from a on and 2^p from
   a + m - 2^p on. So M_p at these two places has their largest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem.masks import check_order
from approxattn._problem.visible import Visibility, Window, runs


@dataclass(frozen=True, kw_only=True, eq=False)
class Sight:
    """What holds in every layer.

    Attributes
    ----------
    mask : array of bool, shape (..., n), or None
        Tokens that take part.
    segments : ndarray of int, shape (..., n), or None
        Numbers of packed sequences, on the host; a token sees its own sequence only.
    """

    mask: Array | None = None
    segments: HostArray | None = None

    @property
    def of_heads(self) -> dict[str, Array | None]:
        """Both as `attention` takes them, shapes (..., 1, n)."""
        found = {"key_mask": self.mask, "segments": self.segments}
        return {name: x if x is None else x[..., None, :] for name, x in found.items()}


def check_segments(segments: object, tokens: tuple[int, ...]) -> HostArray | None:
    """Return numbers of packed sequences in the shape of the tokens, (..., n).

    Raises
    ------
    TypeError
        If it is no array of integers.
    ValueError
        If it does not fit the tokens, or one number stands in two places.
    """
    if segments is None:
        return None
    if isinstance(segments, tuple | list):
        msg = "segments must be one array of whole numbers: queries and keys are the same tokens"
        raise TypeError(msg)
    n = tokens[-1]
    order: dict[str, Any] = {"causal": False, "query_offset": None, "window": None}
    found = check_order(tokens[:-1], n, n, **order, segments=segments).segments
    assert found is not None  # noqa: S101 - some were given
    return np.broadcast_to(found[1], tokens)


class Seen:
    """Takes, for each token, the largest x_j >= 0 of the tokens it sees; x on the host, shape
    (..., heads, n).
    """

    def __init__(self, sight: Sight, n: int, causal: bool, window: Window | None) -> None:
        self._mask = None
        if sight.mask is not None:
            self._mask = _arrays.to_host(sight.mask)[..., None, :]
        self._causal, self._runs = causal, None
        if window is None and sight.segments is None:
            return
        pair = None if sight.segments is None else (sight.segments, sight.segments)
        order = Visibility(n_q=n, n_k=n, causal=causal, window=window, segments=pair)
        self._runs = tuple(x if x.ndim == 1 else x[..., None, :] for x in order.limits)

    def __call__(self, x: HostArray) -> HostArray:
        """Return the largest of each token, of the shape of x."""
        if self._mask is not None:
            x = np.where(self._mask, x, 0.0)
        if self._runs is not None:
            return largest_of_runs(x, *self._runs)
        if self._causal:
            return np.maximum.accumulate(x, axis=-1)
        return np.broadcast_to(np.max(x, axis=-1, keepdims=True), x.shape)


def largest_of_runs(x: HostArray, first: HostArray, stop: HostArray) -> HostArray:
    """Return the largest of x_a, ..., x_{b-1} for a in `first` and b in `stop`, along the last
    axis; 0 where b = a.
    """
    first, stop = (np.broadcast_to(a, x.shape) for a in (first, stop))
    lengths, found, size = stop - first, np.zeros(x.shape), 1
    longest = int(np.max(lengths, initial=0))
    while size <= longest:  # x is M_p, size 2^p
        here, last = (lengths >= size) & (lengths < 2 * size), x.shape[-1] - 1
        ends = (np.take_along_axis(x, np.clip(a, 0, last), -1) for a in (first, stop - size))
        found = np.where(here, np.maximum(*ends), found)
        if 2 * size <= longest:
            x = np.maximum(x[..., :-size], x[..., size:])
        size *= 2
    return found


def centre(x: Array, sight: Sight, xp: Namespace) -> Array:
    """Return a centre of the rows that take part, shape (..., heads, 1, w), or, row by row, one of
    its own sequence, shape (..., heads, n, w); any would do.
    """
    if sight.segments is not None:
        return _centres_of_sequences(x, sight)
    if sight.mask is None:
        return xp.mean(x, axis=-2, keepdims=True)
    weight = xp.astype(sight.mask[..., None, :, None], x.dtype)
    return xp.sum(weight * x, axis=-2, keepdims=True) / xp.sum(weight, axis=-2, keepdims=True)


def _centres_of_sequences(x: Array, sight: Sight) -> Array:
    """Return the mean of each sequence in the places of its tokens; 0 where none takes part."""
    segments, found = sight.segments, _arrays.to_float64(x)
    assert segments is not None  # noqa: S101 - asked for segments only
    weights = np.ones(segments.shape)
    if sight.mask is not None:
        weights = _arrays.to_float64(sight.mask)
    means = np.zeros(found.shape)
    for index in np.ndindex(*segments.shape[:-1]):
        lengths = [stop - start for _, start, stop in runs(segments[index])]
        starts = np.cumsum([0, *lengths[:-1]])
        weight = weights[index][:, None]
        sums = np.add.reduceat(weight * found[index], starts, axis=-2)
        counts = np.maximum(np.add.reduceat(weight, starts, axis=-2), 1)
        means[index] = np.repeat(sums / counts, lengths, axis=-2)
    means = means.astype(_arrays.dtype_name(x))
    return _arrays.from_host(np.where(np.isfinite(means), means, 0), x)
