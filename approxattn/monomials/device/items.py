"""The monomials of degree <= g in d variables in tiles of 16, as tensor cores take them.

They are those of degree g in d + 1 variables, x_0 = 1. A tile is 16 parents, of degree g - 1; an
item is the 16 monomials x_c * parent of one tile and one c. A monomial that stands in two items has
weight 0 in one of them.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np

from approxattn._arrays import HostArray

ITEM = 16
"""Monomials of an item, as in the source."""


@dataclass(frozen=True)
class Table:
    """The items for one pair (d, g).

    Attributes
    ----------
    parents : uint8 array, shape (tiles * 16, g - 1)
        Variables of the parents, 0 ... d.
    tiles, firsts : int32 and uint8 arrays, shape (items,)
        Tile and first variable of every item.
    factors : int array, shape (items * 16, g)
        Variables of every monomial, increasing.
    own : bool array, shape (items * 16,)
        Whether it stands here and in no other item.
    """

    parents: HostArray
    tiles: HostArray
    firsts: HostArray
    factors: HostArray
    own: HostArray

    @property
    def items(self) -> int:
        """Their number."""
        return len(self.tiles)


@functools.lru_cache(maxsize=32)
def table(d: int, degree: int) -> Table:
    """Return the items of d variables and a degree >= 2."""
    rows = list(itertools.combinations_with_replacement(range(d + 1), degree - 1))
    missing = -len(rows) % ITEM
    none = (0,) * (degree - 1)
    # what fills the first tile comes first: the tiles of large variables have the most items
    parents = np.array([none] * missing + rows, np.uint8)
    heads = parents[:, 0].reshape(-1, ITEM).max(axis=1).astype(int)
    tiles = np.repeat(np.arange(len(heads)), heads + 1)
    firsts = np.concatenate([np.arange(head + 1) for head in heads])
    of_item = parents.reshape(-1, ITEM, degree - 1)[tiles].reshape(-1, degree - 1)
    lead = np.repeat(firsts, ITEM)
    factors = np.concatenate([lead[:, None], of_item.astype(int)], axis=1)
    filled = np.arange(len(parents)).reshape(-1, ITEM)[tiles].ravel() < missing
    own = (lead <= of_item[:, 0]) & ~filled
    return Table(parents, tiles.astype(np.int32), firsts.astype(np.uint8), factors, own)


@functools.lru_cache(maxsize=32)
def item_weights(coefficients: tuple[float, ...], d: int) -> HostArray:
    """Return c_t t!/alpha! for every monomial of the items, 0 where it stands in another one too,
    float64, shape (items * 16,).
    """
    found = table(d, len(coefficients) - 1)
    degrees = np.count_nonzero(found.factors, axis=1)
    multiplicity = np.array([math.factorial(t) for t in range(len(coefficients))], float)[degrees]
    run = np.zeros(len(degrees))
    for k in range(found.factors.shape[1]):
        same = (found.factors[:, k] == found.factors[:, k - 1]) & (k > 0)
        run = np.where(same, run + 1, 1.0)
        multiplicity /= np.where(found.factors[:, k] > 0, run, 1.0)
    return np.asarray(np.where(found.own, np.asarray(coefficients)[degrees] * multiplicity, 0.0))
