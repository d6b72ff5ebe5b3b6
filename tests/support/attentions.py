"""Attention functions for the tests of `approxattn.testing`: a right one, and faulty ones, each
with the check that must find it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

BLOCKS = (64, 128, 256)


def scores(q: Any, k: Any) -> Any:
    return q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]).astype(q.dtype)


def weighted(s: Any, keep: Any, v: Any) -> Any:
    s = np.where(keep, s, -np.inf)
    w = np.exp(s - s.max(axis=-1, keepdims=True, initial=-np.finfo(s.dtype).max))
    return w @ v / w.sum(axis=-1, keepdims=True)


def right(q: Any, k: Any, v: Any, *, causal: bool = False, key_mask: Any = None) -> Any:
    keep = np.tri(q.shape[-2], k.shape[-2], dtype=bool) if causal else True
    return weighted(scores(q, k), keep if key_mask is None else keep & key_mask, v)


def seen(
    n_q: int,
    n_k: int,
    *,
    causal: bool = False,
    query_offset: int = 0,
    window: Any = None,
    segments: Any = None,
) -> Any:
    """Return which query sees which key."""
    far = np.arange(n_k) - np.arange(n_q)[:, None] - query_offset
    keep = far <= 0 if causal else np.ones((n_q, n_k), bool)
    if window is not None:
        keep = keep & (far >= -window[0]) & (far <= window[1])
    if segments is not None:
        keep = keep & (segments[:, None] == segments)
    return keep


def ordered(
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = False,
    query_offset: int = 0,
    window: Any = None,
    segments: Any = None,
) -> Any:
    """A right one with all of these."""
    keep = seen(
        q.shape[-2],
        k.shape[-2],
        causal=causal,
        query_offset=query_offset,
        window=window,
        segments=segments,
    )
    return weighted(scores(q, k), keep, v)


def forgets_the_offset(
    q: Any, k: Any, v: Any, *, causal: bool = False, query_offset: int = 0
) -> Any:
    """Causal order is aligned at the upper left, whatever was said."""
    return ordered(q, k, v, causal=causal, query_offset=min(query_offset, 0))


def window_too_wide(q: Any, k: Any, v: Any, *, window: Any = None) -> Any:
    """One key more before each query."""
    return ordered(q, k, v, window=window and (window[0] + 1, window[1]))


def window_forgets_causal(
    q: Any, k: Any, v: Any, *, causal: bool = False, window: Any = None
) -> Any:
    """Under a window causal order is forgotten."""
    return ordered(q, k, v, causal=causal and window is None, window=window)


def leaks_between_segments(q: Any, k: Any, v: Any, *, segments: Any = None) -> Any:
    """The first key of a sequence is seen by the one before."""
    keep = seen(q.shape[-2], k.shape[-2], segments=segments)
    if segments is not None:
        starts = np.append(False, segments[1:] != segments[:-1])
        keep = keep | (starts & np.roll(keep, 1, axis=1))
    return weighted(scores(q, k), keep, v)


def gradient(q: Any, k: Any, v: Any, dout: Any) -> tuple[Any, Any, Any]:
    s = scores(q, k)
    p = np.exp(s - s.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    dp = dout @ v.T
    ds = p * (dp - (p * dp).sum(axis=1, keepdims=True)) / q.shape[1] ** 0.5
    return ds @ k, ds.T @ q, p.T @ dout


# --- faulty ones, by the block at whose end they go wrong -----------------------------------------


def blind(block: int) -> Callable[..., Any]:
    """No key from the end of the first block on is seen."""

    def attention(q: Any, k: Any, v: Any) -> Any:
        if k.shape[-2] == v.shape[-2] and not np.isnan(k).any():
            k, v = k[..., :block, :], v[..., :block, :]
        return right(q, k, v)

    return attention


def loses_a_key(block: int) -> Callable[..., Any]:
    """The first key of every later block is left out."""

    def attention(q: Any, k: Any, v: Any) -> Any:
        places = np.arange(k.shape[-2])
        keep = (places % block != 0) | (places == 0)
        return weighted(scores(q, k), keep, v)

    return attention


def sees_one_too_many(block: int) -> Callable[..., Any]:
    """Under a causal mask the last row of every block sees the next key."""

    def attention(q: Any, k: Any, v: Any, *, causal: bool = False) -> Any:
        keep = np.tri(q.shape[-2], k.shape[-2], dtype=bool)
        keep[block - 1 :: block] |= np.tri(q.shape[-2], k.shape[-2], 1, dtype=bool)[
            block - 1 :: block
        ]
        return weighted(scores(q, k), keep if causal else True, v)

    return attention


def sees_one_too_few(block: int) -> Callable[..., Any]:
    """Under a causal mask the first row of every later block does not see its own key."""

    def attention(q: Any, k: Any, v: Any, *, causal: bool = False) -> Any:
        keep = np.tri(q.shape[-2], k.shape[-2], dtype=bool)
        keep[block::block] &= np.tri(q.shape[-2], k.shape[-2], -1, dtype=bool)[block::block]
        return weighted(scores(q, k), keep if causal else True, v)

    return attention


def forgets_the_mask(block: int) -> Callable[..., Any]:
    """The first key of every later block takes part whatever the mask says."""

    def attention(q: Any, k: Any, v: Any, *, key_mask: Any = None) -> Any:
        places = np.arange(k.shape[-2])
        always = (places % block == 0) & (places > 0)
        return weighted(scores(q, k), True if key_mask is None else key_mask | always, v)

    return attention


AT_BLOCKS: dict[Callable[[int], Callable[..., Any]], tuple[str, ...]] = {
    blind: ("agrees with softmax", "order of keys"),
    loses_a_key: ("agrees with softmax", "order of keys", "NaN does not disappear"),
    sees_one_too_many: ("causal", "later keys", "causal agrees with softmax"),
    sees_one_too_few: ("causal", "causal agrees with softmax"),
    forgets_the_mask: ("masked keys", "contents of masked keys", "all keys masked"),
}
"""Each with checks that must find it; one of them asks no agreement with softmax."""


# --- faulty ones, at any length -------------------------------------------------------------------


def off_by_one(q: Any, k: Any, v: Any, *, causal: bool = False) -> Any:
    keep = np.tri(q.shape[-2], k.shape[-2], 1, dtype=bool) if causal else True
    return weighted(scores(q, k), keep, v)


def no_scale(q: Any, k: Any, v: Any) -> Any:
    return right(q * np.sqrt(q.shape[-1]).astype(q.dtype), k, v)


def always_raises(q: Any, k: Any, v: Any, *, causal: bool = False, key_mask: Any = None) -> Any:
    del q, k, v, causal, key_mask
    msg = "not today"
    raise ValueError(msg)


def always_leaves(q: Any, k: Any, v: Any) -> Any:
    del q, k, v
    raise SystemExit(0)


def writes(q: Any, k: Any, v: Any) -> Any:
    q /= 2
    return right(2 * q, k, v)


def doubles(q: Any, k: Any, v: Any) -> Any:
    return right(q, k, v).astype(np.float64)


def in_float32(q: Any, k: Any, v: Any) -> Any:
    return right(*(x.astype(np.float32) for x in (q, k, v))).astype(q.dtype)


def without_the_maximum(q: Any, k: Any, v: Any) -> Any:
    with np.errstate(over="ignore", invalid="ignore"):
        w = np.exp(scores(q, k))
        return w @ v / w.sum(axis=-1, keepdims=True)


def transposed(q: Any, k: Any, v: Any, dout: Any) -> tuple[Any, Any, Any]:
    """dk with the softmax derivative in the place of its transpose."""
    dq, _, dv = gradient(q, k, v, dout)
    s = scores(q, k)
    p = np.exp(s - s.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    dp = dout @ v.T
    ds = p * (dp - (p * dp).sum(axis=1, keepdims=True)) / q.shape[1] ** 0.5
    return dq, ds @ q, dv


def blind_gradient(q: Any, k: Any, v: Any, dout: Any) -> tuple[Any, Any, Any]:
    dq, dk, dv = gradient(q, k, v, dout)
    dv[64:] = 0
    return dq, dk, dv


FAULTY: dict[Callable[..., Any], str] = {
    off_by_one: "causal",
    no_scale: "agrees with softmax",
    always_raises: "repeatable",
    always_leaves: "repeatable",
    writes: "inputs are not written to",
    doubles: "dtype is kept",
    in_float32: "agrees with softmax",
    without_the_maximum: "agrees with softmax in float32",
}

FAULTY_ORDERS: dict[Callable[..., Any], tuple[str, ...]] = {
    forgets_the_offset: ("query offset",),
    window_too_wide: ("window agrees with softmax", "keys beyond the window"),
    window_forgets_causal: ("window agrees with softmax",),
    leaks_between_segments: ("packed sequences",),
}

FAULTY_GRADIENTS: dict[Callable[..., Any], str] = {
    transposed: "dk is the derivative",
    blind_gradient: "dv is the derivative",
}
