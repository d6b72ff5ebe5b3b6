"""The output of a chunk: softmax over window, selected keys and summaries together."""

from __future__ import annotations

from typing import NamedTuple

from approxattn._arrays import Array, Namespace
from approxattn.methods.selected_keys.arrays import add, add_to_last, shifted_exp
from approxattn.methods.selected_keys.chunk_keys import ChunkKeys


class Weights(NamedTuple):
    """e^{score - largest} on the window (C, b, w) and on the others (C, b, t + G), and their sum
    (C, b, 1).
    """

    window: Array
    others: Array
    total: Array


def weights(keys: ChunkKeys, xp: Namespace) -> Weights:
    """Return the weights of a chunk, not normalised."""
    others = add(xp.matmul(keys.q, xp.matrix_transpose(keys.k)), keys.bias)
    top = xp.max(others, axis=-1, keepdims=True)
    window = xp.matmul(keys.q, xp.matrix_transpose(keys.window_k))
    if window.shape[-1]:
        if keys.window_bias is not None:
            window = add_to_last(window, keys.window_bias)
        top = xp.maximum(top, xp.max(window, axis=-1, keepdims=True))
    window, others = shifted_exp(window, top, xp), shifted_exp(others, top, xp)
    total = xp.sum(window, axis=-1, keepdims=True) + xp.sum(others, axis=-1, keepdims=True)
    return Weights(window, others, total)


def output(keys: ChunkKeys, found: Weights, xp: Namespace) -> Array:
    """Return the output, shape (C, b, dv)."""
    numerator = xp.matmul(found.window, keys.window_v) + xp.matmul(found.others, keys.v)
    return numerator / found.total


def share(keys: ChunkKeys, found: Weights, xp: Namespace) -> Array:
    """Return the weight of the summaries, shape (C, b)."""
    selected = keys.places.shape[1]
    return xp.sum(found.others[..., selected:], axis=-1) / found.total[..., 0]
