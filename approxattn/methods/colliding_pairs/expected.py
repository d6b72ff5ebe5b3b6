"""How many pairs collide, and what listing them holds, for tokens of random directions.

A pair at a right angle has the same code in a table with probability p. Whether it collides in L
tables is settled table by table, as if they were independent.
"""

from __future__ import annotations

import math

from approxattn.methods.colliding_pairs.pairs import ENTRIES
from approxattn.methods.costs import Size

PADDED = 1.4
"""Rows of pairs are padded to a power of two: between once and twice the pairs. *Chosen*."""


def expected_pairs(size: Size, p: float, tables: int) -> float:
    """Return the number of pairs that collide in one of the tables."""
    return size.pairs * (-math.expm1(tables * math.log1p(-p)) if p < 1 else 1.0)


def pair_bytes(size: Size, p: float, tables: int) -> float:
    """Return what the pairs of one leading index hold: while they are found, six lists of those of
    one table and three of those of all tables, 8 bytes each; then one list, and blocks of gathered
    keys and values.
    """
    one, all_tables = p * size.n_q * size.n_k, expected_pairs(size, p, tables) / max(size.items, 1)
    gathered = min(PADDED * all_tables * (size.d + size.dv), ENTRIES)
    return max(8 * (6 * one + 3 * tables * one), 8 * all_tables + 2.5 * size.width * gathered)
