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


@functools.lru_cache(maxsize=32)
def parents(d: int, degree: int) -> tuple[HostArray, HostArray]:
    """Return for every monomial x_i m, i its first variable, i + 1 and the place of m; 0 and 0 for
    the constant: int64, shape (r,) twice; read-only.
    """
    leads, places = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
    for t in range(1, degree + 1):
        end = rank(d, t - 1)
        for i in range(d):
            length = suffix_length(d, i, t - 1)
            leads.append(np.full(length, i + 1))
            places.append(np.arange(end - length, end))
    found = np.concatenate(leads), np.concatenate(places)
    for table in found:
        table.setflags(write=False)
    return found


@functools.lru_cache(maxsize=32)
def raised(d: int, degree: int) -> tuple[HostArray, HostArray]:
    """Return for every monomial m of degree < g and every i the place of x_i m and the power of x_i
    in it, int64 and float64, shape (C(d + g - 1, g - 1), d) twice; read-only.

    x_i m has first variable i if that of m is no earlier; else it is x_l times x_i m', for m = x_l
    m'.
    """
    lead, parent = (table[: rank(d, degree - 1)] for table in parents(d, degree - 1))
    places = np.zeros((len(lead), d), np.int64)
    powers = np.ones((len(lead), d))
    variables = np.arange(d)
    for t in range(degree):
        own = np.arange(rank(d, t - 1) if t else 0, rank(d, t))
        first = lead[own] - 1 if t else np.full(1, d)  # the constant has no variable
        later = variables[None, :] > first[:, None]
        if t:
            powers[own] = powers[parent[own]] + (variables[None, :] == first[:, None])
        below = places[parent[own]] if t else np.zeros((1, d), np.int64)
        of = np.where(later, below, own[:, None])
        places[own] = _child(d, np.where(later, first[:, None], variables[None, :]), of, t)
    places.setflags(write=False)
    powers.setflags(write=False)
    return places, powers


def _child(d: int, i: HostArray, place: HostArray, t: int) -> HostArray:
    """Return the place of x_i m for monomials m of degree t, at `place`, in x_i ... x_{d-1}."""
    lengths = np.asarray([suffix_length(d, j, t) for j in range(d)])
    starts = rank(d, t) + np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return np.asarray(starts[i] + place - (rank(d, t) - lengths[i]))


@functools.lru_cache(maxsize=32)
def halves(d: int, degree: int) -> tuple[HostArray, HostArray]:
    """Return for every monomial the places of two of degree up to s = ceil(g / 2) whose product it
    is: its last s variables and those before; int64, shape (r,) twice; read-only.

    Of degree up to s it is itself times the constant; else x_i m takes the second half of m.
    """
    (lead, parent), half = parents(d, degree), (degree + 1) // 2
    first, second = np.zeros(rank(d, degree), np.int64), np.arange(rank(d, degree))
    for t in range(half + 1, degree + 1):
        own = np.arange(rank(d, t - 1), rank(d, t))
        second[own] = second[parent[own]]
        before, front = first[parent[own]], t - half - 1  # variables before those of the second
        first[own] = _child(d, lead[own] - 1, before, front)
    for table in (first, second):
        table.setflags(write=False)
    return first, second
