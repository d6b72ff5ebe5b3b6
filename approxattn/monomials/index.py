"""The minimal symmetric basis: all monomials of degree <= g in d variables, and their
multiplicities.

(q . k)^t = sum_{|alpha| = t} (t!/alpha!) q^alpha k^alpha, so P(q . k) = sum_alpha c_{|alpha|}
(|alpha|!/alpha!) q^alpha k^alpha has rank r = C(d + g, g): one feature a monomial. (Alman & Song
2023 state r = C(2(g + d), 2g), wording unverified: they count the monomials of q and k together.)

Order: by degree; the degree-t block is, for i = 0 ... d-1, x_i times the monomials of degree t - 1
in x_i ... x_{d-1}, which are the last C(d - i + t - 2, t - 1) of the block before. So every block
is built from suffixes of the one before, without an index table.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from approxattn._arrays import HostArray

MANY = 10**200
"""Stands for any larger number of features: beyond, float64 overflows and nobody counts."""


def rank(d: int, degree: int) -> int:
    """Return C(d + g, g), the number of monomials of degree <= g in d variables."""
    return math.comb(d + degree, degree)


def suffix_length(d: int, i: int, t: int) -> int:
    """Return the number of monomials of degree t in x_i ... x_{d-1}."""
    return math.comb(d - i + t - 1, t)


@functools.lru_cache(maxsize=32)
def multiplicities(d: int, degree: int) -> HostArray:
    """Return |alpha|!/alpha! for every monomial, shape (r,), in the order of the module; read-only.

    With x_i leading m, the multiplicity of x_i m is that of m times t / (power of x_i in x_i m).
    """
    blocks = [np.ones(1)]
    lead, run = (
        np.zeros(1, int),
        np.zeros(1, int),
    )  # leading variable and its power, for each monomial of the last block
    for t in range(1, degree + 1):
        block, leads, runs = [], [], []
        for i in range(d):
            tail = slice(len(lead) - suffix_length(d, i, t - 1), None)
            power = np.where((lead[tail] == i) & (run[tail] > 0), run[tail] + 1, 1)
            block.append(blocks[-1][tail] * t / power)
            leads.append(np.full(power.shape, i))
            runs.append(power)
        blocks.append(np.concatenate(block))
        lead, run = np.concatenate(leads), np.concatenate(runs)
    result = np.concatenate(blocks)
    result.setflags(write=False)
    return result


@functools.lru_cache(maxsize=32)
def degrees(d: int, degree: int) -> HostArray:
    """Return |alpha| for every monomial, shape (r,), in the order of the module; read-only."""
    result = np.concatenate([np.full(suffix_length(d, 0, t), t) for t in range(degree + 1)])
    result.setflags(write=False)
    return result
