"""What q, k, v and scale must be: every rule that an array can break, with its remedy.

A hidden key does not exist. So its row is set to 0 in k and v before any number is looked at:
nothing behind a mask can reach a value, a bound or an error message.
"""

from __future__ import annotations

import math
from typing import NoReturn

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_number
from approxattn._arrays import Array, HostArray, Namespace
from approxattn._arrays.crossing import at_hand, fetched, space


class NotFiniteError(ValueError):
    """A NaN or an infinity stands in an array that must be finite."""


def check_dtypes(q: Array, k: Array, v: Array) -> None:
    """Raise TypeError unless q, k, v share one dtype that attention is computed for."""
    for name, array in (("q", q), ("k", k), ("v", v)):
        _arrays.compute_dtype_name(array, name)
    if not q.dtype == k.dtype == v.dtype:
        msg = (
            f"q, k, v have dtypes {q.dtype}, {k.dtype}, {v.dtype}: they must be equal; cast them, "
            "so that no precision is lost unseen"
        )
        raise TypeError(msg)


def check_shapes(q: Array, k: Array, v: Array) -> None:
    """Raise ValueError unless the last two axes of q, k, v fit."""
    for name, array in (("q", q), ("k", k), ("v", v)):
        if array.ndim < 2:
            _refuse(
                f"{name} has shape {array.shape}: it needs (..., tokens, features); use "
                f"{name}[None, :] for one token"
            )
    if q.shape[-1] != k.shape[-1]:
        _refuse(
            f"q{q.shape} and k{k.shape} differ in the last axis: queries and keys must have the "
            "same width"
        )
    if q.shape[-1] == 0:
        _refuse(
            f"q has shape {q.shape}: width 0 leaves no score to compare; queries need at least one "
            "feature"
        )
    if k.shape[-2] != v.shape[-2]:
        _refuse(f"k{k.shape} and v{v.shape} differ in tokens: every key needs one value")
    if k.shape[-2] == 0:
        _refuse(
            f"k has shape {k.shape}: the softmax over no keys is undefined; give at least one key"
        )


def _refuse(msg: str) -> NoReturn:
    raise ValueError(msg)


def check_scale(scale: float | None, d: int, dtype: str) -> float:
    """Return the factor of the scores: `scale`, or 1/sqrt(d) for None.

    It must be a normal number of the dtype computed in: methods multiply by it there, and a
    subnormal one is off by as much as itself.
    """
    if scale is None:
        return 1.0 / math.sqrt(d)
    rule = "be a finite positive number; None means 1/sqrt(d)"
    beta = check_number("scale", scale, rule, low=0.0, high=math.inf)
    least, most = _arrays.smallest_normal(dtype), _arrays.largest(dtype)
    if not least <= beta <= most:
        msg = (
            f"scale(={scale!r}) must lie in [{least:.3g}, {most:.3g}], the normal numbers of "
            f"{dtype}: put a part of it into q, or use float64"
        )
        raise ValueError(msg)
    return beta


def common_batch(q: Array, k: Array, v: Array) -> tuple[int, ...]:
    """Return the leading axes that q, k, v have in common."""
    shapes = [tuple(array.shape[:-2]) for array in (q, k, v)]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        msg = (
            f"leading axes {shapes[0]}, {shapes[1]}, {shapes[2]} of q, k, v do not broadcast: make "
            "them equal or 1"
        )
        raise ValueError(msg) from None


def hide(x: Array, key_mask: Array | None, xp: Namespace) -> Array:
    """Return x, shape (..., n_k, m), with 0 in the rows that the mask hides.

    The mask keeps its own leading axes, so keys that several heads share stay shared.
    """
    if key_mask is None:
        return x
    zero = xp.zeros((1, 1), dtype=x.dtype, device=_arrays.device(x))
    return xp.where(key_mask[..., None], x, zero)


def max_abs(array: Array, xp: Namespace) -> float:
    """Return the largest absolute entry, 0 of no entries; NaN or infinite where an entry is."""
    return float(_arrays.to_host(largest_entry(array, xp)))


def largest_entry(array: Array, xp: Namespace) -> Array:
    """Return the same as an array without axes, which may be far."""
    if not math.prod(array.shape):
        return np.zeros(())
    return xp.max(_arrays.largest_size(array, xp))


def value_ends(
    v: Array, key_mask: Array | None, xp: Namespace, *, zero: bool
) -> tuple[Array, Array]:
    """Return the largest and the smallest visible value of each column, 0 where there is none,
    shapes (..., dv), in float64, at hand; with `zero` among the values.
    """
    high, low = v, v
    if key_mask is not None:
        keep = key_mask[..., None]
        edge = xp.full_like(v, xp.inf)
        high, low = xp.where(keep, v, -edge), xp.where(keep, v, edge)
    ends = _arrays.largest_of_rows(high, xp), _arrays.smallest_of_rows(low, xp)
    top, bottom = (at_hand(end) for end in ends)
    own = space(top)
    nothing = own.zeros_like(top)
    none = top < bottom  # no key is visible
    if zero:
        top, bottom = own.maximum(top, nothing), own.minimum(bottom, nothing)
    return own.where(none, 0.0, top), own.where(none, 0.0, bottom)


def sizes_of(
    q: Array, k: Array, ends: tuple[Array, Array], xp: Namespace, beside: Array | None = None
) -> tuple[list[float], tuple[HostArray, HostArray], float | None]:
    """Return the largest absolute entries of q, k and v, the ends of the values on the host, and
    the largest entry of one more array: all in one crossing.
    """
    arrays = (q, k) if beside is None else (q, k, beside)
    top_q, top_k, *rest = fetched(*(largest_entry(x, xp) for x in arrays), *ends)
    high, low = rest[-2:]
    top_v = np.max(np.maximum(np.abs(high), np.abs(low)), initial=0.0)
    more = None if beside is None else float(rest[0])
    return [float(top_q), float(top_k), float(top_v)], (high, low), more


def check_finite(
    name: str, array: Array, xp: Namespace, remedy: str, given: tuple[int, ...] | None = None
) -> None:
    """Raise NotFiniteError, naming the first index, where an entry is NaN or infinite.

    `given` is the shape that the caller knows, where a mask has added leading axes.
    """
    if not _arrays.is_floating(array) or bool(xp.all(xp.isfinite(array))):
        return
    host = _arrays.to_host(array)
    place = np.argwhere(~np.isfinite(host))[0]
    shape = array.shape if given is None else given
    named = [min(int(i), n - 1) for i, n in zip(place[-len(shape) :], shape, strict=True)]
    msg = f"{name}{named} is {host[tuple(place)]}: {name} must be finite; {remedy}"
    raise NotFiniteError(msg)


def quarantine(
    q: Array, k: Array, v: Array, key_mask: Array | None = None
) -> tuple[Array, Array, Array, HostArray]:
    """Zero the batch items that hold NaN or infinity where it can be seen, and say which.

    What `pose` will refuse anyway is left to it. The last array returned is bool and has the shape
    of the leading axes, or broadcasts to it.
    """
    masks = {} if key_mask is None else {"key_mask": key_mask}
    xp = _arrays.namespace(q=q, k=k, v=v, **masks)
    clean, bad = [], []
    for array, mask in ((q, None), (k, key_mask), (v, key_mask)):
        if array.ndim < 2 or not _arrays.is_floating(array):
            clean.append(array)
            continue
        fine = xp.all(xp.isfinite(array), axis=-1)  # (..., tokens)
        if mask is not None and _fits(mask, fine):
            fine = fine | ~mask
        fine = xp.all(fine, axis=-1)
        clean.append(xp.where(fine[..., None, None], array, xp.zeros_like(array)))
        bad.append(~_arrays.to_host(fine))
    try:
        spoilt = np.logical_or.reduce(np.broadcast_arrays(*bad)) if bad else np.zeros((), bool)
    except ValueError:
        return q, k, v, np.zeros((), bool)
    return clean[0], clean[1], clean[2], spoilt


def _fits(mask: Array, rows: Array) -> bool:
    """Return whether a mask can be laid over rows of that shape."""
    try:
        np.broadcast_shapes(tuple(mask.shape), tuple(rows.shape))
    except ValueError:
        return False
    return _arrays.dtype_name(mask) == "bool" and mask.shape[-1:] == rows.shape[-1:]
