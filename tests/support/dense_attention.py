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


def output(q, k, v, *, causal=False, scale=None):
    """Return the output of any leading axes, in extended precision."""
    q, k, v = (x.astype(EXTENDED) for x in (q, k, v))
    s = _factor(q, scale) * q @ np.swapaxes(k, -1, -2)
    s = np.where(np.tri(*s.shape[-2:], dtype=bool), s, -np.inf) if causal else s
    f = np.exp(s - s.max(-1, keepdims=True))
    return (f @ v) / f.sum(-1, keepdims=True)


def gradient(q, k, v, dout, *, causal=False, scale=None):
    """Return dq, dk, dv by their names, in extended precision."""
    found = dense(q, k, v, dout, _factor(q, scale), causal)
    return dict(zip(("dq", "dk", "dv"), found, strict=True))


def _factor(q, scale):
    return EXTENDED(scale) if scale else 1 / np.sqrt(EXTENDED(q.shape[-1]))


def row_errors(value, want):
    """Return the largest error of each row."""
    return np.abs(value.astype(EXTENDED) - want).max(axis=-1)


def tokens(count, shape, seed, size, dtype):
    """Return q, k, v and so on: normal numbers, those of q and k times `size`, all off centre."""
    rng = np.random.default_rng(seed)
    sizes = (size, size, 1.0, 1.0)[:count]
    return [(s * (rng.standard_normal(shape) + 0.3 * i)).astype(dtype) for i, s in enumerate(sizes)]
