"""A function of the half range that never falls, known at some half ranges: looked up in one step.

Symbols. b_0 < b_1 < ... = B; v_k bounds the function at b_k. Finding the next b_k of thousands of
rows by bisection costs more than the rest of their bounds, so the cells of a finer grid keep the
answer.

1. b <= B 2^(-n / CELLS) for n = floor(CELLS log2(B / b) - 1e-6): the float64 logarithm is off by
   less than that margin.
2. v_k at the first b_k that is no smaller than this bounds the function at b.
3. Below the last cell the value of that cell serves, since the function never falls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from approxattn._arrays import HostArray

CELLS, OCTAVES = 512, 9
"""Cells an octave, and octaves. *Chosen*: 0.14 % of b, and down to the shortest intervals."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """Bounds on a function that never falls, for half ranges in [0, half_range].

    Attributes
    ----------
    cells : ndarray
        The value for b <= half_range 2^(-n / CELLS), n = 0, 1 ...
    beyond : float
        What is said above `half_range`.
    """

    half_range: float
    cells: HostArray
    beyond: float

    @classmethod
    def of(cls, ends: HostArray, values: HostArray, beyond: float | None = None) -> Running:
        """Return it for bounds `values` at the half ranges `ends`, increasing; above the last one
        the last value, or `beyond`.
        """
        half_range = float(ends[-1])
        with np.errstate(under="ignore"):
            narrow = half_range * np.exp2(-np.arange(CELLS * OCTAVES) / CELLS)
        place = np.searchsorted(ends, np.minimum(narrow, half_range))
        cells = np.maximum.accumulate(values)[place]
        return cls(
            half_range=half_range,
            cells=cells,
            beyond=float(cells[0]) if beyond is None else beyond,
        )

    def at(self, half_range: HostArray) -> HostArray:
        """Return the bounds, shape of `half_range`; `beyond` for NaN."""
        b = np.asarray(half_range, dtype=np.float64)
        with np.errstate(all="ignore"):
            n = np.floor(CELLS * np.log2(self.half_range / b) - 1e-6)
        n = np.fmin(np.fmax(n, 0.0), self.cells.size - 1.0).astype(np.int64)
        return np.asarray(np.where(b <= self.half_range, self.cells[n], self.beyond))
