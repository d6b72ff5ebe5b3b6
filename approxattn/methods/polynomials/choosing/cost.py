"""Multiply-adds and memory of sums with a polynomial of a given degree, by features or by scores,
whichever takes fewer operations.
"""

from __future__ import annotations

from approxattn.methods.costs import Size
from approxattn.monomials.dense import SCORE_BLOCK
from approxattn.monomials.index import MANY, rank
from approxattn.monomials.kernel import cheapest_kind
from approxattn.monomials.numpy_features import plan
from approxattn.monomials.parts.numpy_scores import TOGETHER
from approxattn.monomials.workers import worker_count

STATES = 4
"""Copies of a state: a worker's sum and its product, the weighted one, and monomials' weights.
Read off the code of `numpy_contraction`.
"""


BLOCKS = 4
"""Blocks of scores that meet where sums go by scores: scores, values and powers. *Chosen*."""


BACKWARD = 4
"""Times the memory of the output that a gradient by features holds; measured."""


def by_features(size: Size, degree: int) -> bool:
    """Return whether the sums are taken by features."""
    return cheapest_kind(size.n_q, size.n_k, size.d, degree, size.dv + 1) == "features"


def multiply_adds(size: Size, degree: int) -> float:
    """Return r (dv + 2) for each query and each key, r = C(d + g, g) features, or d + g + dv + 1 a
    pair where scores are cheaper.
    """
    if by_features(size, degree):
        each = min(rank(size.d, degree), MANY) * (size.dv + 2)
        return size.items * (size.n_q + size.n_k) * each
    return size.pairs * (size.d + degree + size.dv + 1)


def sums_bytes(size: Size, degree: int) -> float:
    """Return what the sums hold besides tokens: states, and monomials of a chunk a worker."""
    if not by_features(size, degree):
        block = max(1, min(size.n_q, SCORE_BLOCK) * min(size.n_k, SCORE_BLOCK))
        together = max(1, min(size.items, TOGETHER // block))
        return float(BLOCKS * together * block * size.width)
    m, r = size.dv + 1, rank(size.d, degree)
    longer, shorter = max(size.n_q, size.n_k, 1), max(min(size.n_q, size.n_k), 1)
    way = plan(size.d, m, degree, longer, causal=False)
    columns = m * (way.scheme == "top") * 2 + 3 * m
    monomials = way.chunk * (rank(size.d, way.depth) + columns)
    one = float((size.n_q + size.n_k) * r * m)
    workers = worker_count(one * size.items, size.items)
    if workers == 1:
        workers = worker_count(one, -(-shorter // way.chunk))
    return workers * size.width * monomials + (workers + STATES) * r * m * size.width + 48 * r


def backward(size: Size, degree: int, held: float) -> tuple[float, float]:
    """Return multiply-adds and bytes of a gradient whose output holds `held` bytes of tokens."""
    work, sums = 4 * multiply_adds(size, degree), sums_bytes(size, degree)
    if by_features(size, degree):
        return work, BACKWARD * (held + sums)
    return work, 2 * held + sums
