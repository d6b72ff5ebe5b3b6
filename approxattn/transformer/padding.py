"""Masked tokens: what stands in them is never read, and what becomes of them is 0.

M sets the rows of masked tokens to 0. C sets them to a copy of the first row that takes part. The
network with a mask is

    T_0 = M g_0(C X),     T_i = M g_i(Z_i), with Z_i from C T_{i-1}.

So a masked token has no effect on any other, and its own rows of T_0, ..., T_m, dL/dX and dL/dT_i
are 0, surely. Its rows of dL/dT_m have no effect either. Row by row (proved here):

1. C X does not depend on what stands there, be it NaN or 1e300.
2. No token sees the key of a masked one, so no other row depends on it.
3. It may see no key itself, as padding before a causal sequence: its row of the heads is 0 then,
   and of no use.
4. Its rows of the cotangent of T_m are set to 0. A map of tokens pulls a row of 0 back to a row of
   0, attention too where the key is not seen: all its cotangents are 0, the exact ones too.
5. So a maximum over the tokens, in a bound on a gradient, need not go over masked ones; and it
   changes little when it does, for the sake of C: a row of zeros would have the steepest LayerNorm
   that there is.
"""

from __future__ import annotations

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array, HostArray
from approxattn._problem.input import hide


def check_mask(key_mask: Array | None, x: Array, tokens: tuple[int, ...]) -> Array | None:
    """Return the mask in the shape of the tokens, (..., n).

    Raises
    ------
    TypeError
        If it is not bool, or of another library than x.
    ValueError
        If it does not fit the tokens, or leaves none of a row of them.
    """
    if key_mask is None:
        return None
    xp = _arrays.namespace(x=x, key_mask=key_mask)
    if _arrays.dtype_name(key_mask) != "bool":
        msg = f"key_mask has dtype {key_mask.dtype}: it must be bool, True where a token takes part"
        raise TypeError(msg)
    try:
        fits = np.broadcast_shapes(tuple(key_mask.shape), tokens) == tokens
    except ValueError:
        fits = False
    if not fits:
        msg = (
            f"key_mask has shape {tuple(key_mask.shape)}: it must broadcast to that of the tokens, "
            f"{tokens}"
        )
        raise ValueError(msg)
    mask = _arrays.contiguous(xp.broadcast_to(key_mask, tokens))
    if not bool(xp.all(xp.any(mask, axis=-1))):
        place = np.argwhere(~np.any(_arrays.to_host(mask), axis=-1))[0].tolist()
        msg = f"key_mask leaves row {place} of the tokens without keys: unmask one of its tokens"
        raise ValueError(msg)
    return mask


def shown(x: Array, mask: Array | None) -> Array:
    """Return M x for tokens (..., n, d)."""
    return x if mask is None else hide(x, mask, _arrays.namespace(x=x))


def lent(x: Array, mask: Array | None) -> Array:
    """Return C x for tokens (..., n, d), or for token numbers, shape of the mask."""
    if mask is None:
        return x
    xp = _arrays.namespace(x=x)
    counts = xp.cumulative_sum(xp.astype(mask, xp.int64), axis=-1)
    first = mask & (counts == 1)
    axis = mask.ndim - 1
    if x.ndim > mask.ndim:
        mask, first = mask[..., None], first[..., None]
    row = xp.sum(xp.where(first, x, xp.zeros_like(x)), axis=axis, keepdims=True, dtype=x.dtype)
    return xp.where(mask, x, row)


def shown_bounds(delta: HostArray, mask: Array | None) -> HostArray:
    """Return bounds of rows, 0 for masked tokens."""
    return delta if mask is None else np.where(_arrays.to_host(mask), delta, 0.0)
