"""Sparse attention of other groups, as rules which pairs are read: for errors and counts of equal
terms, not for times.

1. Queries are taken in blocks of 64, as a prefill does. A rule gives every pair of a query and an
   earlier key, or a summary of keys, a bias: 0 where it is read, -inf where not, -ln(p) where it is
   read with probability p, so that sums over keys are right in the mean.
2. The output is the softmax of scores and bias. With everything read it is exact attention.
3. A pair that is read counts 2d multiply-adds; what finds the pairs is counted besides, by
   `selection`. An oracle finds them for nothing: such a rule is a floor, not a method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from real_model.network import Array

BLOCK = 64
Bias = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A rule; this one reads everything."""

    timed: ClassVar[bool] = False

    def prepare(self, q: Array, k: Array, rng: np.random.Generator) -> Any:
        """Return what a whole head shares."""
        del q, k, rng

    def summaries(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Return keys and values, shape (s, d), that stand for others."""
        return k[:0], v[:0]

    def bias(self, scores: Array, first: int, shared: Any, rng: np.random.Generator) -> Bias:
        """Return the bias of pairs, shape (rows, keys + s); later keys need not be left out."""
        del first, shared, rng
        return np.zeros(scores.shape)

    def selection(self, n: int, d: int) -> float:
        """Return the multiply-adds of finding the pairs of a head."""
        del n, d
        return 0.0

    def rows(
        self, q: Array, k: Array, v: Array, first: int, shared: Any, rng: np.random.Generator
    ) -> tuple[Array, float]:
        """Return the outputs of the queries from `first` on, given the keys up to the last of them,
        and how many pairs were read.
        """
        more_k, more_v = self.summaries(k[:first], v[:first])
        scores = q @ np.concatenate([k, more_k]).T / np.sqrt(np.float32(q.shape[1]))
        later = np.arange(len(k)) > first + np.arange(len(q))[:, None]
        scores[:, : len(k)][later] = -np.inf
        scores += self.bias(scores, first, shared, rng).astype(np.float32)
        out: Array = softmax(scores, axis=1) @ np.concatenate([v, more_v])
        return out, float(np.isfinite(scores).sum())

    def head(
        self, q: Array, k: Array, v: Array, rng: np.random.Generator, blocks: list[int]
    ) -> tuple[Array, float]:
        """Return the outputs of these blocks of a head, one after another, and the multiply-adds of
        all blocks, if they are like these.
        """
        n, d = q.shape
        shared, outs, read, seen = self.prepare(q, k, rng), [], 0.0, 0.0
        for block in blocks:
            a, b = block * BLOCK, min(block * BLOCK + BLOCK, n)
            out, pairs = self.rows(q[a:b], k[:b], v[:b], a, shared, rng)
            outs.append(out)
            read, seen = read + pairs, seen + (a + b + 1) / 2 * (b - a)
        return np.concatenate(outs), read / seen * n * (n + 1) * d + self.selection(n, d)

    def __call__(
        self, q: Array, k: Array, v: Array, rng: np.random.Generator
    ) -> tuple[Array, float]:
        """Return outputs of heads (heads, n, d) on keys (n, d), and their multiply-adds."""
        blocks = list(range(math.ceil(q.shape[1] / BLOCK)))
        done = [self.head(each, k, v, rng, blocks) for each in q]
        return np.stack([out for out, _ in done]), sum(count for _, count in done)


def near(rows: int, columns: int, first: int, back: int, sinks: int) -> npt.NDArray[np.bool_]:
    """Return where a key is among the first ones, or at most `back` before its query."""
    i, j = first + np.arange(rows)[:, None], np.arange(columns)
    return (j < sinks) | (j >= i - back)


def hidden(seen: npt.NDArray[np.bool_]) -> Bias:
    """Return 0 where pairs are read and -inf elsewhere."""
    return np.where(seen, 0.0, -np.inf)


def largest(scores: Array | Bias, count: int) -> npt.NDArray[np.bool_]:
    """Return where the `count` largest of each row stand; -inf is never among them."""
    count = min(count, scores.shape[1])
    found = np.zeros(scores.shape, bool)
    if count:
        places = np.argpartition(scores, scores.shape[1] - count, axis=1)[:, -count:]
        np.put_along_axis(found, places, True, axis=1)
    return found & np.isfinite(scores)


@dataclass(frozen=True, kw_only=True)
class Window(Rival):
    """The last keys and the first ones (StreamingLLM, Xiao et al., arXiv 2309.17453; there the
    positions are counted anew inside the cache, here they stay). Only these keys are touched, so
    that its time says something.
    """

    timed: ClassVar[bool] = True
    back: int
    sinks: int = 4

    def rows(
        self, q: Array, k: Array, v: Array, first: int, shared: Any, rng: np.random.Generator
    ) -> tuple[Array, float]:
        """Return the outputs and the number of pairs."""
        del shared, rng
        start = max(0, first - self.back)
        sinks = min(self.sinks, start)
        keys, values = (np.concatenate([x[:sinks], x[start:]]) for x in (k, v))
        scores = q @ keys.T / np.sqrt(np.float32(q.shape[1]))
        i = first + np.arange(len(q))[:, None]
        j = np.concatenate([np.arange(sinks), np.arange(start, len(k))])
        seen = (j <= i) & ((j >= i - self.back) | (j < self.sinks))
        scores[~seen] = -np.inf
        out: Array = softmax(scores, axis=1) @ values
        return out, float(seen.sum())


@dataclass(frozen=True, kw_only=True)
class Delta(Window):
    """A window corrected by its error in the first query of each block, which is added to all of
    them (Willette, Lee and Hwang, arXiv 2505.11254; abstract and caption of Figure 4 read, wording
    unverified).
    """

    def rows(
        self, q: Array, k: Array, v: Array, first: int, shared: Any, rng: np.random.Generator
    ) -> tuple[Array, float]:
        """Return the corrected outputs and the pairs of both parts."""
        out, read = super().rows(q, k, v, first, shared, rng)
        exact, more = Rival().rows(q[:1], k[: first + 1], v[: first + 1], first, None, rng)
        return out + (exact - out[:1]), read + more


@dataclass(frozen=True, kw_only=True)
class Blocks(Rival):
    """Whole blocks of keys, for each query those that its score with a summary of the block puts
    first; the window and the first keys besides.

    Attributes
    ----------
    kept, size : int
        Blocks a query, and keys a block.
    by : {"mean", "box"}
        Score with the mean key (as in MoBA, arXiv 2502.13189, and in the selection branch of NSA,
        arXiv 2502.11089, which learns its summaries; wording unverified), or the largest score that
        a key within the ranges of the channels could have (Quest, arXiv 2406.10774).
    rest : bool
        Whether the other blocks enter with their mean keys and values.
    """

    kept: int
    size: int = 32
    back: int = 63
    sinks: int = 4
    by: str = "mean"
    rest: bool = False

    def prepare(self, q: Array, k: Array, rng: np.random.Generator) -> Array:
        """Return the scores of all queries and blocks, shape (n, blocks)."""
        del rng
        whole = len(k) // self.size
        parts = k[: whole * self.size].reshape(whole, self.size, k.shape[1])
        if self.by == "mean":
            scores: Array = q @ parts.mean(axis=1).T
        else:
            low, high = parts.min(axis=1), parts.max(axis=1)
            scores = np.maximum(q, 0) @ high.T + np.minimum(q, 0) @ low.T
        return scores

    def summaries(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Return the means of the whole blocks."""
        whole = len(k) // self.size if self.rest else 0
        parts = [x[: whole * self.size].reshape(whole, self.size, x.shape[1]) for x in (k, v)]
        return parts[0].mean(axis=1), parts[1].mean(axis=1)

    def bias(self, scores: Array, first: int, shared: Any, rng: np.random.Generator) -> Bias:
        """Return 0 for the chosen blocks, and what each mean stands for."""
        del rng
        rows, whole = len(scores), first // self.size
        columns = scores.shape[1] - (whole if self.rest else 0)
        ranks = shared[first : first + rows, :whole]
        chosen = largest(ranks, self.kept)
        seen = near(rows, columns, first, self.back, self.sinks)
        seen[:, whole * self.size :] = True
        seen[:, : whole * self.size] |= np.repeat(chosen, self.size, axis=1)
        if not self.rest:
            return hidden(seen)
        left = self.size - seen[:, : whole * self.size].reshape(rows, whole, self.size).sum(axis=2)
        with np.errstate(divide="ignore"):
            return np.concatenate([hidden(seen), np.log(left)], axis=1)

    def selection(self, n: int, d: int) -> float:
        """Return those of the scores with all earlier blocks."""
        return n * n / (2 * self.size) * d * (1 if self.by == "mean" else 2)


@dataclass(frozen=True, kw_only=True)
class Oracle(Rival):
    """The largest scores of each row, found for nothing: the floor of rules that drop keys."""

    top: int

    def bias(self, scores: Array, first: int, shared: Any, rng: np.random.Generator) -> Bias:
        """Return 0 for the largest."""
        del first, shared, rng
        return hidden(largest(scores, self.top))
