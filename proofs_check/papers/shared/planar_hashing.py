"""Sign hashing in the plane, where every probability is an exact rational.

1. Vectors point along multiples of pi/6.
2. A hyperplane's bit 1[<w, x> > 0] changes only where w crosses a multiple of pi/6, since
   pi/2 = 3 pi/6 away from some x is one.
3. So it is constant on the 12 open arcs between them. A Gaussian w lies in each with probability
   1/12.
4. `bits` hyperplanes are 12^bits equally likely tuples of arcs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction

ARCS = 12

Row = tuple[int, ...]
"""Indicators 1[h(q) = h(k_j)], one per key."""


def bit(direction: int, arc: int) -> int:
    """Sign bit of a vector at angle direction * pi/6 for a normal in the middle of an arc, at (2
    arc + 1) pi/12.
    """
    # the cosine is positive within 6 twelfths of pi
    return int((2 * arc + 1 - 2 * direction + 6) % 24 < 12)


def code(direction: int, arcs: Sequence[int]) -> tuple[int, ...]:
    """All bits of one hash."""
    return tuple(bit(direction, arc) for arc in arcs)


def angle(a: int, b: int) -> Fraction:
    """Angle between two directions, as a fraction of pi."""
    turn = (a - b) % ARCS
    return Fraction(min(turn, ARCS - turn), 6)


def hashes(bits: int) -> Iterator[tuple[int, ...]]:
    """All hashes of so many hyperplanes; each has probability 12^-bits."""
    return itertools.product(range(ARCS), repeat=bits)


def collisions(query: int, keys: Sequence[int], bits: int) -> list[Row]:
    """Row of collision indicators under each equally likely hash."""
    rows = []
    for arcs in hashes(bits):
        own = code(query, arcs)
        rows.append(tuple(int(code(key, arcs) == own) for key in keys))
    return rows


def mean(values: Sequence[int | Fraction]) -> Fraction:
    """Exact mean of equally likely values."""
    return Fraction(sum(values)) / len(values)


def pair(a: int, b: int, bits: int) -> Fraction:
    """The claimed probability (1 - theta/pi)^bits that two vectors collide."""
    return (1 - angle(a, b)) ** bits


def triple(a: int, b: int, c: int, bits: int) -> Fraction:
    """The claimed probability (1 - (theta_ab + theta_bc + theta_ac) / (2 pi))^bits that three
    vectors collide.
    """
    return (1 - (angle(a, b) + angle(b, c) + angle(a, c)) / 2) ** bits
