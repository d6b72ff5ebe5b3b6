"""Which products of monomials with a state are cut, so that the parts of chosen degrees come out.

Monomials are ordered by degree (`index`), so a degree is a run of rows.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from approxattn.monomials.index import rank

WORTH_A_CUT = 4
"""Rows for each column of values from which on a degree is cut out. *Chosen*: its product is then
added to the others, m numbers a token; below, the last column is multiplied once more.
"""


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """How the monomials held are multiplied with a state.

    Attributes
    ----------
    pieces : tuple of (slice, int or None)
        All rows in runs, in order; each with the index of the degree that it is, None for rows
        that nobody asked about. The products of the pieces add up to the sums.
    thin : tuple of (slice, int)
        Runs whose last column is multiplied once more, with the index of their degree.
    """

    pieces: tuple[tuple[slice, int | None], ...]
    thin: tuple[tuple[slice, int], ...]


@functools.lru_cache(maxsize=64)
def cuts(d: int, m: int, depth: int, degrees: tuple[int, ...]) -> Cuts:
    """Return the cuts for monomials of degree <= depth, m columns, and the degrees asked for."""
    pieces: list[tuple[slice, int | None]] = []
    thin, start = [], 0
    for k, t in enumerate(degrees):
        if t > depth:
            break
        span = rows_of(d, t)
        if span.stop - span.start <= WORTH_A_CUT * m:
            thin.append((span, k))
            continue
        if span.start > start:
            pieces.append((slice(start, span.start), None))
        pieces.append((span, k))
        start = span.stop
    if start < rank(d, depth):
        pieces.append((slice(start, rank(d, depth)), None))
    return Cuts(pieces=tuple(pieces), thin=tuple(thin))


def rows_of(d: int, t: int) -> slice:
    """Return the rows of the monomials of degree t >= 1."""
    return slice(rank(d, t - 1), rank(d, t))


def check_degrees(degrees: tuple[int, ...], degree: int, columns: int) -> None:
    """Refuse degrees that no part belongs to, and values without a last column.

    Raises
    ------
    ValueError
        If `degrees` do not increase within 1 ... `degree`, or there are some and no column.
    """
    inside = all(isinstance(t, int) and 1 <= t <= degree for t in degrees)
    if not inside or list(degrees) != sorted(set(degrees)):
        msg = (
            f"degrees(={degrees!r}) must be whole numbers that increase within 1 ... {degree}: "
            "leave the others out"
        )
        raise ValueError(msg)
    if degrees and not columns:
        msg = f"values have no column to split into degrees(={degrees!r}): give one, or no degrees"
        raise ValueError(msg)
