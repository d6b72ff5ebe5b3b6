"""Attention of other groups that hashes or samples keys: rules as in `rivals`, with chance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from real_model.network import Array
from real_model.rivals import BLOCK, Bias, Rival, hidden, largest, near


@dataclass(frozen=True, kw_only=True)
class _Node:
    """Queries middle..end-1 on keys start..middle-1: keys of one sorted block, and samples."""

    start: int
    middle: int
    end: int
    query_block: npt.NDArray[np.int64]
    key_block: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Hyper(Rival):
    """Queries and keys sorted by a hash, keys of the block in the same place exactly, a uniform
    sample for the rest; causal by halving (HyperAttention, Han et al., arXiv 2310.05869, and its
    published code, whose hash and settings these are; `least` is 4096 there).

    Attributes
    ----------
    size, sample : int
        Keys of a sorted block, and of the sample.
    least : int
        Longest piece on the diagonal that is exact.
    bits : int
        Of the hash; sorted in the order of a Gray code, in which neighbours differ in one bit.
    """

    size: int
    sample: int
    least: int = 512
    bits: int = 7

    def prepare(self, q: Array, k: Array, rng: np.random.Generator) -> list[_Node]:
        """Return all off-diagonal squares."""
        return list(self._nodes(q, k, 0, len(k), rng))

    def _nodes(
        self, q: Array, k: Array, start: int, end: int, rng: np.random.Generator
    ) -> Iterator[_Node]:
        if end - start <= max(self.least, BLOCK):
            return
        middle = start + math.ceil((end - start) / 2 / BLOCK) * BLOCK
        planes = rng.standard_normal((q.shape[1], self.bits)).astype(np.float32)
        order = [_places(x @ planes > 0) for x in (q[middle:end], k[start:middle])]
        keys = middle - start
        drawn = np.bincount(rng.integers(keys, size=self.sample), minlength=keys)
        yield _Node(
            start=start,
            middle=middle,
            end=end,
            query_block=order[0] * math.ceil(keys / self.size) // (end - middle),
            key_block=order[1] // self.size,
            weight=drawn * keys / self.sample,
        )
        yield from self._nodes(q, k, start, middle, rng)
        yield from self._nodes(q, k, middle, end, rng)

    def bias(self, scores: Array, first: int, shared: Any, rng: np.random.Generator) -> Bias:
        """Return 0 within sorted blocks and on the diagonal, and the weights of the samples."""
        del rng
        rows, out = len(scores), np.zeros(scores.shape)
        for node in shared:
            if not node.middle <= first < node.end:
                continue
            mine = node.query_block[first - node.middle : first - node.middle + rows]
            with np.errstate(divide="ignore"):
                sampled = np.log(node.weight)
            same = mine[:, None] == node.key_block
            out[:, node.start : node.middle] = np.where(same, 0.0, sampled)
        return out

    def selection(self, n: int, d: int) -> float:
        """Return those of hashing half of the queries and half of the keys at each halving."""
        return max(0.0, math.log2(n / self.least)) * n * self.bits * d


def _places(bits: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the place of each row when rows are sorted by their bits, read as a Gray code."""
    plain = np.bitwise_xor.accumulate(bits, axis=1)
    codes = plain @ (1 << np.arange(bits.shape[1])[::-1])
    return np.argsort(np.argsort(codes, kind="stable"))


@dataclass(frozen=True, kw_only=True)
class HashSampling(Rival):
    """Keys that share a bucket with the query in at least two tables, divided by the probability of
    that; the first keys and the window exactly (MagicPIG, Chen et al., arXiv 2410.16179, wording
    unverified; settings of its published code: 10 bits, 150 tables). Keys are centred by their
    mean over the head, which scores allow.
    """

    bits: int = 10
    tables: int = 150
    back: int = 64
    sinks: int = 4

    def prepare(
        self, q: Array, k: Array, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Array]:
        """Return the codes of queries and keys, shape (tables, n), and all cosines."""
        middle = k - k.mean(axis=0)
        planes = rng.standard_normal((q.shape[1], self.tables * self.bits)).astype(np.float32)
        powers = (1 << np.arange(self.bits)).astype(np.int32)
        codes = [
            ((x @ planes > 0).reshape(len(x), self.tables, self.bits) @ powers).T.copy()
            for x in (q, middle)
        ]
        return codes[0], codes[1], _unit(q) @ _unit(middle).T

    def bias(self, scores: Array, first: int, shared: Any, rng: np.random.Generator) -> Bias:
        """Return -ln of the probability of what was found."""
        del rng
        rows, columns = scores.shape
        mine, theirs, cosines = shared
        hits = np.zeros(scores.shape, np.int16)
        for table in range(self.tables):
            hits += mine[table, first : first + rows, None] == theirs[table, :columns]
        cosine = np.clip(cosines[first : first + rows, :columns].astype(np.float64), -1, 1)
        chance = self.probability(1 - np.arccos(cosine) / np.pi)
        with np.errstate(divide="ignore"):
            found = np.where(hits >= 2, -np.log(chance), -np.inf)
        return np.where(near(rows, columns, first, self.back, self.sinks), 0.0, found)

    def probability(self, same: Bias) -> Bias:
        """Return that of at least two shared buckets, where one bit is shared with `same`."""
        one = same**self.bits
        none = (1 - one) ** self.tables
        return np.asarray(1 - none - self.tables * one * (1 - one) ** (self.tables - 1))

    def selection(self, n: int, d: int) -> float:
        """Return those of hashing queries and keys."""
        return 2.0 * n * self.tables * self.bits * d


def _unit(x: Array) -> Array:
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.maximum(length, np.finfo(np.float32).tiny))


@dataclass(frozen=True, kw_only=True)
class Verified(Rival):
    """First keys, window and largest scores exactly, a uniform sample for the rest, as large as the
    normal approximation asks for a denominator within `within` with probability 1 - `failure`
    (vAttention, arXiv 2510.05688, and its published code; the theorem's wording unverified). The
    largest scores are found by an oracle, for nothing.

    Attributes
    ----------
    within, failure : float
        Relative error of the denominator, and the probability of more.
    top, base : float
        Shares of the keys: largest scores, and first sample, which tells the spread.
    """

    within: float
    failure: float
    top: float = 0.02
    base: float = 0.02
    back: int = 127
    sinks: int = 128

    def bias(self, scores: Array, first: int, shared: Any, rng: np.random.Generator) -> Bias:
        """Return the weights of the samples, row by row."""
        del shared
        rows, columns = scores.shape
        open_ = ~near(rows, columns, first, self.back, self.sinks)
        open_ &= np.arange(columns) <= first + np.arange(len(scores))[:, None]
        ranked = np.where(open_, scores, -np.inf)
        open_ &= ~largest(ranked, math.ceil(self.top * (first + 1)))
        out = hidden(~open_)
        for row, places in enumerate(map(np.flatnonzero, open_)):
            if len(places):
                out[row, places] = self._sampled(scores[row], places, rng)
        return out

    def _sampled(
        self, scores: Array, places: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> Bias:
        """Return the bias of the keys at places, which are neither near nor largest."""
        n = len(places)
        weights = np.exp(scores - scores.max()).astype(np.float64)
        fewest = min(n, max(2, int(self.base * n)))
        drawn = rng.integers(n, size=fewest)
        spread = weights[places[drawn]].std(ddof=1) if fewest > 1 else 0.0
        total = weights.sum() - weights[places].sum() + n * weights[places[drawn]].mean()
        needed = (ndtri(1 - self.failure) * spread * n / (self.within * total)) ** 2
        if needed >= n or n < 3:
            return np.zeros(n)
        more = rng.integers(n, size=max(0, math.ceil(needed) - fewest))
        drawn = np.concatenate([drawn, more])
        with np.errstate(divide="ignore"):
            return np.log(np.bincount(drawn, minlength=n) * n / len(drawn))
