"""Attention of the model, chosen head by head and timed beside PyTorch's."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

import approxattn as aa
from real_model.network import Array, Network
from real_model.rivals import BLOCK


class HeadAttention(Protocol):
    """Causal attention of some query heads on one key head.

    Attributes
    ----------
    timed : bool
        Whether its time says something: rules for counting only have none.
    """

    timed: ClassVar[bool]

    def __call__(
        self, q: Array, k: Array, v: Array, rng: np.random.Generator
    ) -> tuple[Array, float]:
        """Return outputs (heads, n, d) of queries (heads, n, d), keys and values (n, d), and their
        multiply-adds.
        """
        ...

    def head(
        self, q: Array, k: Array, v: Array, rng: np.random.Generator, blocks: list[int]
    ) -> tuple[Array, float]:
        """Return the outputs of these blocks of 64 queries of one head (n, d), and the
        multiply-adds of all of them.
        """
        ...


def exact_multiply_adds(n: int, d: int) -> float:
    """Return those of exact causal attention, one head: two products for each of n (n + 1) / 2
    pairs.
    """
    return n * (n + 1) * d


def selected_multiply_adds(method: aa.SelectedSummaries, n: int, d: int) -> float:
    """Return those of one head in causal order, block by block: what the method states for both
    orders together is more.

    A block from `first` on meets its own keys up to the diagonal and `recent` ones before it; the
    far keys cost d each for the mean query and 2d for the means, and the met ones 2d a query.
    """
    total = 0.0
    for first in range(0, n, method.block):
        rows = min(method.block, n - first)
        far = max(0, first - method.recent)
        chosen = min(method.sinks + method.heavy, far)
        pieces = min(method.summaries, far - chosen)
        pairs = rows * (first - far + chosen + pieces) + rows * (rows + 1) / 2
        looks = far * ((method.heavy + pieces > 0) + 2 * (pieces > 0))
        total += d * (2 * pairs + looks)
    return total


@dataclass(frozen=True)
class Public:
    """A method of the package, through `approxattn.attention` without a certificate."""

    method: Any
    timed: ClassVar[bool] = True

    def __call__(
        self, q: Array, k: Array, v: Array, rng: np.random.Generator
    ) -> tuple[Array, float]:
        """Return the outputs and what the method says of its cost."""
        out: Array = aa.attention(q, k, v, self.method, causal=True, rng=rng, certify=False).value
        return out, len(q) * self.multiply_adds(*q.shape[1:])

    def head(
        self,
        q: Array,
        k: Array,
        v: Array,
        rng: np.random.Generator,
        blocks: list[int],
    ) -> tuple[Array, float]:
        """Return the outputs of these blocks of queries of one head (n, d), and the multiply-adds
        of all of them; all rows are computed, since what a method chooses may depend on them.
        """
        out, count = self(q[None], k, v, rng)
        rows = (out[0, block * BLOCK : (block + 1) * BLOCK] for block in blocks)
        return np.concatenate(list(rows)), count

    def multiply_adds(self, n: int, d: int) -> float:
        """Return those of a head in causal order."""
        if isinstance(self.method, aa.Exact):
            return exact_multiply_adds(n, d)
        if isinstance(self.method, aa.SelectedSummaries):
            return selected_multiply_adds(self.method, n, d)
        return float(self.method.cost(n, n, d, d, dtype="float32").multiply_adds)


class Swap:
    """Attention for `network.forward`: what `choose` says for each layer and head, with its
    processor time and, in every `beside`-th layer, that of PyTorch on the same numbers.

    Attributes
    ----------
    seconds, torch_seconds : float
        Processor time so far; that of PyTorch is scaled to all layers.
    multiply_adds : float
        So far.
    timed : bool
        Whether the time is that of methods only.
    """

    def __init__(
        self,
        network: Network,
        choose: Callable[[int, int], HeadAttention],
        *,
        seed: int = 0,
        beside: int = 0,
    ) -> None:
        self._network, self._choose, self._seed, self._beside = network, choose, seed, beside
        self._torch = torch() if beside else None
        self._beside_seconds, self._beside_layers = 0.0, 0
        self.seconds, self.multiply_adds, self.timed = 0.0, 0.0, True

    def __call__(self, layer: int, q: Array, k: Array, v: Array) -> Array:
        """Return the outputs of all heads of a layer."""
        if self._torch is not None and layer % self._beside == 0:
            self._beside_seconds += torch_attention(self._torch, q, k, v)[1]
            self._beside_layers += 1
        out = np.empty_like(q)
        for key_head in range(self._network.key_heads):
            for attention, heads in self._sharing(layer, key_head):
                rng = np.random.default_rng([self._seed, layer, heads[0]])
                start = time.process_time()
                out[heads], count = attention(q[heads], k[key_head], v[key_head], rng)
                self.seconds += time.process_time() - start
                self.multiply_adds += count
                self.timed &= attention.timed
        return out

    def _sharing(self, layer: int, key_head: int) -> list[tuple[HeadAttention, list[int]]]:
        """Return the query heads of a key head, together where they have one attention."""
        group, found = self._network.group, dict[int, tuple[HeadAttention, list[int]]]()
        for head in range(key_head * group, (key_head + 1) * group):
            chosen = self._choose(layer, head)
            found.setdefault(id(chosen), (chosen, []))[1].append(head)
        return list(found.values())

    @property
    def torch_seconds(self) -> float | None:
        """Processor time of PyTorch's attention, or None where it was not timed."""
        if not self._beside_layers:
            return None
        return self._beside_seconds * self._network.layers / self._beside_layers


def torch() -> Any:
    """Return PyTorch on one thread, or None where it is not installed."""
    try:
        found = importlib.import_module("torch")
    except ImportError:
        return None
    found.set_num_threads(1)
    return found


def torch_attention(kit: Any, q: Array, k: Array, v: Array) -> tuple[Array, float]:
    """Return what PyTorch makes of all heads of a layer, and the processor time of that."""
    group = len(q) // len(k)
    given = [kit.from_numpy(np.ascontiguousarray(x))[None] for x in (q, k, v)]
    full = [given[0], *(x.repeat_interleave(group, 1) for x in given[1:])]
    start = time.process_time()
    with kit.no_grad():
        out = kit.nn.functional.scaled_dot_product_attention(*full, is_causal=True)
    spent = time.process_time() - start
    return out[0].numpy(), spent
