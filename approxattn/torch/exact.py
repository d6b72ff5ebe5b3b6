"""The gradient of torch's exact attention, for calls that it computed in the place of a method.

Inside an operator torch records nothing, so its own backward cannot be asked. Rows are taken in
blocks, so that no array of n_q n_k entries is formed.
"""

from __future__ import annotations

import math

import torch

from approxattn.torch.masks import Tensor

ROWS = 256
"""Queries taken at a time. *Chosen*: some megabytes of scores for thousands of keys."""


def exact_gradient(
    q: Tensor, k: Tensor, v: Tensor, dout: Tensor, mask: Tensor | None, scale: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dq, dk, dv of softmax attention in the shapes of q, k, v; rows without keys give 0.

    With s = scale q . k + mask, p = softmax(s), z = dout . v: dv = p^T dout, and
    ds = p (z - sum_j p_j z_j).
    """
    beta = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    wide = torch.promote_types(q.dtype, torch.float32)
    keys, values = (_for_each(x.to(wide), q) for x in (k, v))
    rows_of_dq, dk, dv = [], torch.zeros_like(keys), torch.zeros_like(values)
    for start in range(0, q.shape[-2], ROWS):
        rows = slice(start, start + ROWS)
        query, g = q[..., rows, :].to(wide), dout[..., rows, :].to(wide)
        p = _weights(beta * query @ keys.mT, _rows_of(mask, rows, q.shape[-2]))
        z = g @ values.mT
        ds = beta * p * (z - (p * z).sum(-1, keepdim=True))
        rows_of_dq.append(_summed(ds @ keys, query.shape))
        dk = dk + _summed(ds.mT @ query, dk.shape)
        dv = dv + _summed(p.mT @ g, dv.shape)
    whole = torch.cat(rows_of_dq, -2) if rows_of_dq else torch.zeros_like(q)
    grads = whole, _gathered(dk, k), _gathered(dv, v)
    dq, dk, dv = (g.to(x.dtype).contiguous() for g, x in zip(grads, (q, k, v), strict=True))
    return dq, dk, dv


def _weights(scores: Tensor, mask: Tensor | None) -> Tensor:
    if mask is not None and mask.dtype is torch.bool:
        scores = scores.masked_fill(~mask, -math.inf)
    elif mask is not None:
        scores = scores + mask
    nothing = (scores == -math.inf).all(-1, keepdim=True)
    return torch.softmax(scores, -1).masked_fill(nothing, 0.0)


def _rows_of(mask: Tensor | None, rows: slice, n_q: int) -> Tensor | None:
    return mask if mask is None or mask.shape[-2] != n_q else mask[..., rows, :]


def _for_each(x: Tensor, q: Tensor) -> Tensor:
    """Return keys or values once for every head of the queries."""
    shared = q.ndim > 2 and x.ndim > 2 and x.shape[-3] not in (1, q.shape[-3]) and q.shape[-3] != 1
    return x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) if shared else x


def _gathered(grad: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of what `_for_each` was given."""
    if grad.shape == x.shape:
        return grad
    return grad.unflatten(-3, (x.shape[-3], -1)).sum(-3)


def _summed(grad: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a gradient summed over the leading axes along which its input was repeated."""
    return grad.sum_to_size(*shape)
