"""Sums over keys kept in parts, as the schemes of `numpy_features` leave them.

"full" and "tiled" have one part, in the order of `index`. "top" has the monomials held, and one
part for each group of coordinates that share a product.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from approxattn._arrays import HostArray
from approxattn.monomials.contraction import weights
from approxattn.monomials.index import rank, suffix_length
from approxattn.monomials.numpy_features import COORDINATES_AT_ONCE, Plan

State = list[HostArray]
"""sum_j phi(y_j) values_j^T without weights, in parts: shapes (rows, m), or (rows, coordinates m)
for the groups of "top".
"""


def zeros(p: Plan, dtype: np.dtype[Any]) -> State:
    """Return the state of no tokens."""
    base = rank(p.d, p.depth)
    if p.scheme != "top":
        return [np.zeros((rank(p.d, p.degree), p.m), dtype)]
    return [np.zeros((base, p.m), dtype)] + [
        np.zeros((_suffix(p, first), (last - first) * p.m), dtype) for first, last in groups(p)
    ]


def groups(p: Plan) -> list[tuple[int, int]]:
    """Return the runs of coordinates that share one product in "top"."""
    return [(i, min(p.d, i + COORDINATES_AT_ONCE)) for i in range(0, p.d, COORDINATES_AT_ONCE)]


def _suffix(p: Plan, i: int) -> int:
    return suffix_length(p.d, i, p.degree - 1)


def weights_of(p: Plan, coefficients: tuple[float, ...], dtype: np.dtype[Any]) -> State:
    """Return the weights of every entry of a state, 0 for the entries of "top" that stand for no
    monomial.
    """
    w = weights(coefficients, p.d).astype(dtype)
    if p.scheme != "top":
        return [w[:, None]]
    start = rank(p.d, p.depth)
    found = [w[:start, None]]
    for first, last in groups(p):
        part = np.zeros((_suffix(p, first), last - first), dtype)
        for i in range(first, last):
            length = _suffix(p, i)
            part[-length:, i - first] = w[start : start + length]
            start += length
        found.append(np.repeat(part, p.m, axis=1))
    return found


def canonical(p: Plan, state: State) -> HostArray:
    """Return a state in the order of `index`, shape (r, m)."""
    if p.scheme != "top":
        return state[0]
    blocks = [state[0]]
    for part, (first, last) in zip(state[1:], groups(p), strict=True):
        blocks += [
            part[-_suffix(p, i) :, (i - first) * p.m :][:, : p.m] for i in range(first, last)
        ]
    return np.concatenate(blocks)


def weigh(state: State, weight: State) -> State:
    """Return the state times the weights."""
    return [part * w for part, w in zip(state, weight, strict=True)]


def joined(states: list[State]) -> State:
    """Return the sum of the states, in the memory of the first."""
    total, *others = states
    for other in others:
        for part, more in zip(total, other, strict=True):
            part += more
    return total
