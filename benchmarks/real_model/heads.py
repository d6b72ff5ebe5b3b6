"""Errors of attention on single heads: queries, keys and values as the exact model makes them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from real_model.network import Array, Attend
from real_model.rivals import BLOCK, Rival
from real_model.swaps import HeadAttention, exact_multiply_adds

BLOCKS_JUDGED = 8


@dataclass(frozen=True)
class Head:
    """Queries, keys and values after the rotation, shape (n, d)."""

    layer: int
    head: int
    q: Array
    k: Array
    v: Array


class Capture:
    """Attention that keeps what it is given and hands it on."""

    def __init__(self, attend: Attend) -> None:
        self._attend = attend
        self._seen: list[tuple[Array, Array, Array]] = []

    def __call__(self, layer: int, q: Array, k: Array, v: Array) -> Array:
        """Return the outputs of all heads of a layer."""
        self._seen.append((q, k, v))
        return self._attend(layer, q, k, v)

    def save(self, path: Path) -> None:
        """Write q, shape (layers, heads, n, d), k and v, shape (layers, key_heads, n, d), in
        float16.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        q, k, v = (np.stack(x).astype(np.float16) for x in zip(*self._seen, strict=True))
        np.savez(path, q=q, k=k, v=v)

    def heads(self) -> list[Head]:
        """Return one head of each layer, another one from layer to layer."""
        return [
            _one(layer, (4 * layer + 1) % len(seen[0]), *seen)
            for layer, seen in enumerate(self._seen)
        ]

    def all_heads(self) -> list[Head]:
        """Return all heads, layer by layer."""
        return [
            _one(layer, head, *seen)
            for layer, seen in enumerate(self._seen)
            for head in range(len(seen[0]))
        ]


def _one(layer: int, head: int, q: Array, k: Array, v: Array) -> Head:
    key_head = head // (len(q) // len(k))
    return Head(layer, head, q[head], k[key_head], v[key_head])


def judge(attention: HeadAttention, heads: list[Head], seed: int = 0) -> dict[str, Any]:
    """Return the relative Frobenius error on some blocks of queries of each head, one in each
    eighth, multiply-adds over those of exact causal attention, and processor time where it says
    something.
    """
    errors, costs, seconds = [], [], 0.0
    for head in heads:
        rng = np.random.default_rng([seed, head.layer, head.head])
        blocks = _chosen(len(head.q), rng)
        start = time.process_time()
        out, count = _some(attention, head, rng, blocks)
        seconds += time.process_time() - start
        wanted = _exact(head, blocks)
        errors.append(float(np.linalg.norm(out - wanted) / np.linalg.norm(wanted)))
        costs.append(count / exact_multiply_adds(*head.q.shape))
    return {
        "errors": [round(e, 5) for e in errors],
        "cost": float(np.mean(costs)),
        "seconds a head": seconds / len(heads) if attention.timed else None,
    }


def _chosen(n: int, rng: np.random.Generator) -> list[int]:
    edges = np.linspace(0, n // BLOCK, BLOCKS_JUDGED + 1).astype(int)
    return [int(rng.integers(a, b)) for a, b in pairwise(edges) if b > a]


def _some(
    attention: HeadAttention, head: Head, rng: np.random.Generator, blocks: list[int]
) -> tuple[Array, float]:
    """Return the outputs of these blocks of queries; rules need not look at others."""
    if isinstance(attention, Rival):
        return attention.head(head.q, head.k, head.v, rng, blocks)
    out, count = attention(head.q[None], head.k, head.v, rng)
    return np.concatenate([out[0, b * BLOCK : (b + 1) * BLOCK] for b in blocks]), count


def _exact(head: Head, blocks: list[int]) -> npt.NDArray[np.float64]:
    """Return exact outputs of these blocks, in float64."""
    q, k, v = (x.astype(np.float64) for x in (head.q, head.k, head.v))
    outs = []
    for block in blocks:
        a, b = block * BLOCK, (block + 1) * BLOCK
        scores = q[a:b] @ k[:b].T / np.sqrt(q.shape[1])
        scores[np.arange(b) > np.arange(a, b)[:, None]] = -np.inf
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        outs.append(weights @ v[:b] / weights.sum(axis=1, keepdims=True))
    return np.concatenate(outs)
