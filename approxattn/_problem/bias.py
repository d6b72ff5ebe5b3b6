"""Numbers added to the scores: what they must be, and which queries they leave without keys."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._problem.visible import Visibility


def check_bias(
    bias: Array, batch: tuple[int, ...], n_q: int, n_k: int, compute: str, xp: Namespace
) -> Array:
    """Return the bias in the dtype computed in; its leading axes stay as they are.

    Raises TypeError unless it is an array of floats, ValueError where it does not broadcast to
    (..., n_q, n_k), or holds NaN, +inf, or numbers near overflow.
    """
    if not _arrays.is_floating(bias):
        msg = (
            f"bias has dtype {bias.dtype}: it must be floating; for a mask of pairs write "
            "where(seen, 0.0, -inf), for one of keys use key_mask"
        )
        raise TypeError(msg)
    given, full = tuple(bias.shape), (*batch, n_q, n_k)
    try:
        fits = np.broadcast_shapes(given, full) == full
    except ValueError:
        fits = False
    if not fits:
        _refuse(f"bias has shape {given}: it must broadcast to (..., n_q, n_k) = {full}")
    # -inf hides a pair
    sizes = xp.where(bias == -xp.inf, xp.zeros_like(bias), xp.abs(bias))
    limit = _arrays.largest(compute) / 16
    if not bool(xp.all(sizes <= limit)):
        _refuse(
            f"bias reaches {_largest(sizes):.3g}: entries must be finite and at most {limit:.3g} "
            "in size, or -inf where a query must not see a key"
        )
    wide = _arrays.cast(bias, compute, xp)
    return xp.reshape(wide, (*(1,) * (2 - wide.ndim), *wide.shape)) if wide.ndim < 2 else wide


def _largest(sizes: Array) -> float:
    host = _arrays.to_float64(sizes)
    return float(np.max(np.where(np.isnan(host), np.inf, host), initial=0.0))


def visible_pairs(bias: Array, seen: Visibility, key_mask: HostArray | None) -> HostArray:
    """Return how many keys each query sees, shape (..., n_q), where the bias hides pairs too."""
    pairs = _arrays.to_host(bias) > -np.inf
    first, stop = (end[..., None] for end in seen.limits)
    numbers = np.arange(seen.n_k)
    pairs = pairs & (first <= numbers) & (numbers < stop)
    pairs = pairs if key_mask is None else pairs & key_mask[..., None, :]
    return np.asarray(np.count_nonzero(pairs, axis=-1))


def hides(bias: Array, xp: Namespace) -> bool:
    """Return whether the bias hides a pair."""
    return bool(xp.any(bias == -xp.inf))


def cut(bias: Array, rows: tuple[int, int], keys: tuple[int, int]) -> Array:
    """Return a block of a bias, whose last axes may be 1 for all queries or keys."""
    (first, last), (start, end) = rows, keys
    bias = bias if bias.shape[-2] == 1 else bias[..., first:last, :]
    return bias if bias.shape[-1] == 1 else bias[..., start:end]


def _refuse(msg: str) -> NoReturn:
    raise ValueError(msg)
