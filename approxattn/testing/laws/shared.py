"""What the laws share: what rounding may change, the reference, and places where blocks end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from approxattn.testing.calls import Host, Refused, Unusable
from approxattn.testing.problem import Problem
from approxattn.testing.subject import Subject

Law: TypeAlias = Callable[[Subject, Problem], Any]
"""Returns a complaint, None, or NotImplemented where the function has no such form."""

REFUSALS = (Refused, Unusable)
"""Ways to refuse an input, of which any will do. To leave is none."""

BLOCKS = (16, 32, 64, 128, 256, 512)
"""Numbers of tokens that kernels work on at a time."""


def tolerance(p: Problem) -> float:
    """What rounding alone may change in float64. *Chosen*: 2^-53 times 2^14 times n times the size
    of the scores and values.
    """
    return float(2.0**-39 * p.k.shape[0] * _size(p) * (1 + _top(p.v)))


def single_tolerance(p: Problem) -> float:
    """The same in float32. *Chosen*: 2^-24 times 2^6 times the root of n."""
    return float(2.0**-18 * np.sqrt(p.k.shape[0]) * _size(p) * (1 + _top(p.v)))


def _size(p: Problem) -> float:
    return 1 + float(np.max(np.abs(p.q) @ np.abs(p.k).T, initial=0.0))


def _top(x: Host) -> float:
    return float(np.max(np.abs(x), initial=0.0))


def differ(p: Problem, output: Host, expected: Host, allowed: float | None = None) -> str | None:
    """Say by how much an output differs from what it should be; None when rounding explains it."""
    if not (np.all(np.isfinite(output)) and np.all(np.isfinite(expected))):
        return "NaN or infinity"
    gaps = np.abs(output - expected)
    gap = float(np.max(gaps, initial=0.0))
    if gap <= (tolerance(p) if allowed is None else allowed):
        return None
    row = int(np.argmax(np.max(gaps.reshape(gaps.shape[0], -1), axis=1)))
    return f"differs by {gap:.3g} in row {row}"


def softmax(f: Subject, p: Problem, keep: Host | None = None) -> Host:
    """Softmax attention in float64, over the pairs (query, key) to keep."""
    q, k, v = (x.astype(np.float64) for x in (p.q, p.k, p.v))
    scores = f.beta(q.shape[1]) * (q @ k.T)
    scores = scores if keep is None else np.where(keep, scores, -np.inf)
    weights = np.exp(scores - np.max(scores, axis=1, keepdims=True))
    return np.asarray(weights @ v / np.sum(weights, axis=1, keepdims=True))


def ends(f: Subject, n: int) -> list[int]:
    """Numbers of first tokens after which something may change: the first few, one less and one
    more than a block and the block itself, the last few; multiples of what the function takes.
    """
    near = {1, 2, 3, n - 1, n} | {b + i for b in BLOCKS for i in (-1, 0, 1)}
    return sorted({m for m in map(f.lengths.up, near) if 0 < m <= n and f.lengths.has(m)})


def masked_places(f: Subject, n: int) -> list[int]:
    """Places of masked keys among n others: the first, the last, and both sides of every end of a
    block; so many that the function takes them with the others.
    """
    total = n
    while True:
        near = {0, total - 1} | {b + i for b in BLOCKS for i in (-1, 0) if b < total - 1}
        others = (i for i in range(total - 1, -1, -1) if i not in near)
        places = sorted(near | {next(others, 0) for _ in range(-len(near) % f.lengths.multiple_of)})
        if total - len(places) == n:
            return places
        total += 1
