"""Errors of attention on single heads: queries, keys and values as the exact model makes them."""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from approxattn.diagnosis import trials
from real_model.network import Array, Attend
from real_model.rivals import BLOCK
from real_model.swaps import HeadAttention, exact_multiply_adds

BLOCKS_JUDGED, HEADS_TIMED = 8, 9


@dataclass(frozen=True)
class Head:
    """Queries, keys and values after the rotation, shape (n, d)."""

    layer: int
    head: int
    q: Array
    k: Array
    v: Array

    def rng(self) -> np.random.Generator:
        """Return a generator of its own."""
        return np.random.default_rng([0, self.layer, self.head])

    @functools.cached_property
    def blocks(self) -> list[int]:
        """The blocks of queries that are judged, one in each eighth."""
        edges = np.linspace(0, len(self.q) // BLOCK, BLOCKS_JUDGED + 1).astype(int)
        rng = self.rng()
        return [int(rng.integers(a, b)) for a, b in pairwise(edges) if b > a]

    @functools.cached_property
    def wanted(self) -> npt.NDArray[np.float64]:
        """Exact outputs of these blocks, in float64."""
        q, k, v = (x.astype(np.float64) for x in (self.q, self.k, self.v))
        outs = []
        for block in self.blocks:
            a, b = block * BLOCK, (block + 1) * BLOCK
            scores = q[a:b] @ k[:b].T / np.sqrt(q.shape[1])
            scores[np.arange(b) > np.arange(a, b)[:, None]] = -np.inf
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            outs.append(weights @ v[:b] / weights.sum(axis=1, keepdims=True))
        return np.concatenate(outs)


@dataclass(frozen=True)
class Call:
    """What one layer was given, as `approxattn.planning` takes it: one batch item.

    Attributes
    ----------
    layer : int
        Its number.
    module : str
        Its name.
    q, k, v : array, shapes (1, heads, n, d), (1, key_heads, n, d), (1, key_heads, n, d)
        After the rotation.
    """

    layer: int
    module: str
    q: Array
    k: Array
    v: Array

    def head(self, item: int, head: int) -> trials.Head:
        """Return one head, with causal order as its only mask."""
        found = _one(self.layer, head, self.q[item], self.k[item], self.v[item])
        no_masks = dict.fromkeys(("query_offset", "window", "segments", "key_mask"))
        masks = {"causal": True, **no_masks, "empty_rows": "raise"}
        scale = 1 / math.sqrt(found.q.shape[1])
        return trials.Head(q=found.q, k=found.k, v=found.v, scale=scale, masks=masks)


class Capture:
    """Attention that keeps what it is given and hands it on."""

    def __init__(self, attend: Attend) -> None:
        self._attend = attend
        self._seen: list[tuple[Array, Array, Array]] = []

    @staticmethod
    def there(folder: Path) -> bool:
        """Return whether `keep` has written a folder to its end."""
        return all((folder / f"{name}.npy").exists() for name in "qkv")

    @classmethod
    def kept(cls, folder: Path, attend: Attend) -> Capture:
        """Return what `keep` wrote, read from the files as it is needed: rounded to float16."""
        found = cls(attend)
        q, k, v = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in "qkv")
        found._seen = list(zip(q, k, v, strict=True))
        return found

    def keep(self, folder: Path) -> None:
        """Write q, k and v in float16: half a gigabyte for 8,192 tokens of SmolLM2-135M."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, x in self._stacked().items():
            np.save(folder / "new.npy", x)
            (folder / "new.npy").replace(folder / f"{name}.npy")

    def __call__(self, layer: int, q: Array, k: Array, v: Array) -> Array:
        """Return the outputs of all heads of a layer."""
        self._seen.append((q, k, v))
        return self._attend(layer, q, k, v)

    def save(self, path: Path) -> None:
        """Write q, shape (layers, heads, n, d), k and v, shape (layers, key_heads, n, d), in
        float16.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        found = self._stacked()
        np.savez(path, q=found["q"], k=found["k"], v=found["v"])

    def _stacked(self) -> dict[str, npt.NDArray[np.float16]]:
        columns = zip("qkv", zip(*self._seen, strict=True), strict=True)
        return {name: np.stack([y.astype(np.float16) for y in x]) for name, x in columns}

    @functools.cached_property
    def heads(self) -> list[Head]:
        """One head of each layer, another one from layer to layer."""
        return [
            _one(layer, (4 * layer + 1) % len(seen[0]), *seen)
            for layer, seen in enumerate(self._seen)
        ]

    @property
    def calls(self) -> list[Call]:
        """All layers."""
        return [
            Call(layer, f"blk.{layer}", *(x[None] for x in seen))
            for layer, seen in enumerate(self._seen)
        ]


def _one(layer: int, head: int, q: Array, k: Array, v: Array) -> Head:
    key_head = head // (len(q) // len(k))
    own = (q[head], k[key_head], v[key_head])
    return Head(layer, head, *(np.asarray(x, np.float32) for x in own))


def judge(attention: HeadAttention, heads: list[Head]) -> dict[str, Any]:
    """Return the relative Frobenius error of each head on its blocks, multiply-adds over those of
    exact causal attention, and the processor time of a whole head where it says something, from
    some of them.
    """
    done = [attention.head(h.q, h.k, h.v, h.rng(), h.blocks) for h in heads]
    errors = [
        float(np.linalg.norm(out - head.wanted) / np.linalg.norm(head.wanted))
        for head, (out, _) in zip(heads, done, strict=True)
    ]
    costs = [count / exact_multiply_adds(*heads[0].q.shape) for _, count in done]
    return {
        "errors": [round(e, 4) for e in errors],
        "cost": float(np.mean(costs)),
        "seconds a head": _seconds(attention, heads) if attention.timed else None,
    }


def _seconds(attention: HeadAttention, heads: list[Head]) -> float:
    some = heads[:: max(1, len(heads) // HEADS_TIMED)]
    spent = []
    for head in some:
        start = time.process_time()
        attention(head.q[None], head.k, head.v, head.rng())
        spent.append(time.process_time() - start)
    return float(np.median(spent))
