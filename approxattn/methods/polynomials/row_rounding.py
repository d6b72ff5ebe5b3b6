"""What rounding and underflow do to one row of an output N / D, and whether a tolerance survives.

Symbols. N~, D~ are the computed numerator and denominator of a row, D~ > 0; they are sums over at
most n keys of weights p_j of size at most A in total, times values of size at most M or 1; u is the
unit roundoff, w the smallest normal number.

Rounding (proved here).

1. |N~ - N| <= E M and |D~ - D| <= E, where E = gamma_K A counts every rounding on the way of a term
   (`monomials.kernel`) and what underflow takes from n terms.
2. |N~/D~ - N/D| <= |N~ - N| / D~ + |N/D| |D~ - D| / D~, and |N/D| <= M.
3. By 1 and 2 the row is off by at most (2 E / D~) M. 2 E / D~ is the *noise* of the row: the
   computed weights are off by as much in the l1 norm.
4. Values smaller than 1 still lose what underflow takes, so the numerator counts it once more.
5. The division and its result add 8 u M and w.

Tolerance t, column by column (proved here). Column c has the oscillation o_c and the size M_c; its
error in a row of total variation V is at most V o_c + r M_c + l with r, l of steps 3 to 5.

1. It is within t o_c where V + r M_c / o_c + l / o_c <= t.
2. So all columns are within theirs where V + r max_c (M_c / o_c) + l max_c (1 / o_c) <= t.
3. Columns that are 0 throughout are left out: their output is 0.
4. A narrower dtype has the unit roundoff u' and the smallest number w'. It moves an entry of size
   at most M_c + t o_c by 2 u' of it and 2 w', which joins the left side of 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn._problem import Problem
from approxattn.bounds.rounding import up


@dataclass(frozen=True, kw_only=True)
class RowRounding:
    """The rounding error of each row of an output: `relative` times the size of the values, and
    `absolute`; shapes (..., n_q), inf where the denominator is lost.
    """

    relative: HostArray
    absolute: HostArray

    def rows(self, top: HostArray) -> HostArray:
        """Return the bounds for values of size at most `top`, shape (...)."""
        there = np.isfinite(self.relative)
        if np.all(there):
            return up(self.relative * top[..., None] + self.absolute)
        relative = np.where(there, self.relative, 0.0)
        return np.where(there, up(relative * top[..., None] + self.absolute), np.inf)

    def of_signed(self, size: HostArray) -> RowRounding:
        """Return it for weights of both signs, of l1 norm up to `size`, where 1 was counted."""
        return RowRounding(relative=self.relative * size, absolute=self.absolute * size)


def weight_noise(denominator: HostArray, error: HostArray, lost: HostArray) -> HostArray:
    """Return 2 (error + lost) / D~_i, shape (..., n_q): what rounding does to the l1 norm of the
    weights of a row, inf where the denominator is lost.
    """
    there = denominator > 0
    safe = denominator if np.all(there) else np.where(there, denominator, 1.0)
    found = up(2 * (error + lost) / safe)
    return found if safe is denominator else np.where(there, found, np.inf)


def row_rounding(
    denominator: HostArray, terms: HostArray, noise: HostArray, lost: HostArray, dtype: str
) -> RowRounding:
    """Return the rounding of each output row from its `weight_noise`, given what underflow takes
    from each of its `terms` terms; all of shape (..., n_q) or broadcasting to it.
    """
    tiny, u = _arrays.smallest_normal(dtype), _arrays.unit_roundoff(dtype)
    there = denominator > 0
    safe = denominator if np.all(there) else np.where(there, denominator, 1.0)
    return RowRounding(
        relative=up(noise + 8 * u), absolute=up(2 * terms * (lost + tiny) / safe + tiny)
    )


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The ends of the range of each column of values, shapes (..., dv)."""

    high: HostArray
    low: HostArray

    @property
    def sizes(self) -> HostArray:
        """Largest absolute value of each column."""
        return np.maximum(np.abs(self.high), np.abs(self.low))

    @property
    def widths(self) -> HostArray:
        """Oscillation of each column, rounded down."""
        return np.maximum((self.high - self.low) * (1 - 2.0**-50), 0.0)

    def narrowest(self) -> HostArray:
        """Return the least oscillation of a column that is not 0, shape (...); 0 if all are."""
        some = self.sizes > 0
        least = np.min(np.where(some, self.widths, np.inf), axis=-1, initial=np.inf)
        return np.where(np.isfinite(least), least, 0.0)

    def largest_ratios(self) -> tuple[HostArray, HostArray]:
        """Return max_c M_c / o_c and max_c 1 / o_c, shapes (...)."""
        some, widths = self.sizes > 0, self.widths
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            relative = np.where(some, self.sizes / widths, 0.0)
            absolute = np.where(some, 1 / widths, 0.0)
        largest = [np.max(x, axis=-1, initial=0.0) for x in (relative, absolute)]
        return largest[0], largest[1]


def columns_of(problem: Problem) -> Columns:
    """Return the range of each column of the visible values."""
    high, low = problem.value_range
    return Columns(high=high, low=low)


def narrowing(size: HostArray, problem: Problem) -> HostArray:
    """Return what the dtype of the result takes from entries of that size."""
    if problem.out_dtype == problem.dtype:
        return np.zeros_like(size)
    u = _arrays.unit_roundoff(problem.out_dtype)
    return up(2 * u * size + 2 * _arrays.smallest_normal(problem.out_dtype))


def all_within(
    tolerance: float, columns: Columns, tv: HostArray, rounding: RowRounding, problem: Problem
) -> HostArray:
    """Tell for which leading indices all columns are within their tolerance, shape (...)."""
    ratio, inverse = (x[..., None] for x in columns.largest_ratios())
    with np.errstate(over="ignore", invalid="ignore"):
        each = tv + rounding.relative * ratio + rounding.absolute * inverse
        if problem.out_dtype != problem.dtype:
            u = _arrays.unit_roundoff(problem.out_dtype)
            tiny = _arrays.smallest_normal(problem.out_dtype)
            each = each + 2 * u * (ratio + tolerance) + 2 * tiny * inverse
        return np.asarray(np.all(up(each) <= tolerance, axis=-1))


def promise(
    tolerance: float, columns: Columns, rows: HostArray, within: HostArray, problem: Problem
) -> HostArray:
    """Return `Certificate.promised` for bounds `rows`, shape (...): what the narrowest column
    allows, or, where all columns are within their tolerance, at least the bound of the widest.
    """
    bound = np.max(rows, axis=-1, initial=0.0)
    top = np.max(columns.sizes, axis=-1, initial=0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        ceiling = up(bound + 2 * narrowing(bound + top, problem))
        ceiling = bound if problem.out_dtype == problem.dtype else ceiling
    kept = within & np.isfinite(ceiling)
    return np.maximum(tolerance * columns.narrowest(), np.where(kept, ceiling, 0.0))


def lost_denominators(rows: HostArray, dtype: str) -> tuple[str, ...]:
    """Return the reason why some rows have no bound, if any."""
    if not np.any(rows):
        return ()
    return (
        f"{int(np.sum(rows))} denominator(s) are lost to rounding in {dtype} and their rows are "
        "NaN; use float64 or a smaller scale",
    )
