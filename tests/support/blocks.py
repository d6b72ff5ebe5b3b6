"""Attention and its gradient in extended precision, for calls that take tokens in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from approxattn._arrays import HostArray


def _weights(q: HostArray, k: HostArray, causal: bool, scale: float | None) -> HostArray:
    scores = (q @ np.swapaxes(k, -1, -2)) * _factor(q, scale)
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def _factor(q: HostArray, scale: float | None) -> Any:
    return np.longdouble(scale) if scale else 1 / np.sqrt(np.longdouble(q.shape[-1]))


def _wide(*arrays: HostArray) -> list[HostArray]:
    return [x.astype(np.longdouble) for x in arrays]


def output(
    q: HostArray, k: HostArray, v: HostArray, *, causal: bool = False, scale: float | None = None
) -> HostArray:
    """Return the output."""
    q, k, v = _wide(q, k, v)
    return np.asarray(_weights(q, k, causal, scale) @ v)


def gradient(
    q: HostArray,
    k: HostArray,
    v: HostArray,
    dout: HostArray,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> dict[str, HostArray]:
    """Return dq, dk, dv."""
    q, k, v, g = _wide(q, k, v, dout)
    f, turn = _weights(q, k, causal, scale), np.swapaxes
    z = g @ turn(v, -1, -2)
    p = f * (z - (g * (f @ v)).sum(axis=-1, keepdims=True)) * _factor(q, scale)
    return {"dq": p @ k, "dk": turn(p, -1, -2) @ q, "dv": turn(f, -1, -2) @ g}


def row_errors(value: HostArray, want: HostArray) -> HostArray:
    """Return the largest error of each row."""
    return np.asarray(np.abs(value.astype(np.longdouble) - want).max(axis=-1))


def tokens(count: int, shape: tuple[int, ...], seed: int, size: float, dtype: str) -> Any:
    """Return q, k, v and so on: normal numbers, those of q and k times `size`, all off centre."""
    rng = np.random.default_rng(seed)
    sizes = (size, size, 1.0, 1.0)[:count]
    return [(s * (rng.standard_normal(shape) + 0.3 * i)).astype(dtype) for i, s in enumerate(sizes)]
