"""Softmax attention and its gradient written out, in float64 and in extended precision."""

from __future__ import annotations

import numpy as np

EXTENDED = np.longdouble


def dense(q, k, v, g, scale, causal=False, mask=None):
    """dq, dk, dv of softmax attention by the formula, in extended precision."""
    q, k, v, g = (x.astype(np.longdouble) for x in (q, k, v, g))
    s = scale * q @ np.swapaxes(k, -1, -2)
    keep = np.tril(np.ones(s.shape[-2:], bool)) if causal else np.ones(s.shape[-2:], bool)
    keep = keep if mask is None else keep & mask[..., None, :]
    s = np.where(keep, s, -np.inf)
    f = np.exp(s - s.max(-1, keepdims=True))
    f /= f.sum(-1, keepdims=True)
    z = g @ np.swapaxes(v, -1, -2)
    p = f * (z - (f * z).sum(-1, keepdims=True))
    return scale * p @ k, scale * np.swapaxes(p, -1, -2) @ q, np.swapaxes(f, -1, -2) @ g


def exact(q, k, v, scale, causal=False, key_mask=None, dout=None):
    """Output, or dq, dk, dv for a cotangent, in extended precision."""
    q, k, v = (x.astype(EXTENDED) for x in (q, k, v))
    s = EXTENDED(scale) * q @ k.T
    keep = np.tril(np.ones(s.shape, bool)) if causal else np.ones(s.shape, bool)
    keep = keep if key_mask is None else keep & key_mask
    s = np.where(keep, s, -np.inf)
    f = np.exp(s - s.max(-1, keepdims=True))
    f /= f.sum(-1, keepdims=True)
    if dout is None:
        return f @ v
    g = dout.astype(EXTENDED)
    z = g @ v.T
    p = f * (z - (f * z).sum(-1, keepdims=True))
    return EXTENDED(scale) * p @ k, EXTENDED(scale) * p.T @ q, f.T @ g
