"""Laws of single calls: the same bits again, dtypes, NaN, shapes, no queries.

A refusal counts only of a function that takes the input as it was before it was spoilt: one that
refuses everything obeys no law.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from approxattn.testing.laws.shared import REFUSALS
from approxattn.testing.problem import Problem
from approxattn.testing.subject import Subject


def repeatable(f: Subject, p: Problem) -> Any:
    """The same call gives the same bits."""
    return (
        None
        if np.array_equal(f(p.q, p.k, p.v), f(p.q, p.k, p.v), equal_nan=True)
        else "two calls differ"
    )


def dtype_kept(f: Subject, p: Problem) -> Any:
    """float32 stays float32, float64 stays float64."""
    asked = ["float32", "float64"]
    given = [str(f(*(x.astype(dtype) for x in (p.q, p.k, p.v))).dtype) for dtype in asked]
    return None if given == asked else f"float32, float64 give {', '.join(given)}"


def not_a_number(f: Subject, p: Problem) -> Any:
    """NaN in one key is refused, or makes every row that sees it NaN: it never disappears."""
    f(p.q, p.k, p.v)
    k = p.k.copy()
    k[-1, 0] = np.nan
    try:
        out = f(p.q, k, p.v)
    except REFUSALS:
        return None
    return None if np.all(np.isnan(out)) else "finite output from a NaN"


def shapes(f: Subject, p: Problem) -> Any:
    """Keys and values of different number are refused."""
    few = f.lengths.multiple_of
    if f.square or p.k.shape[0] <= few:  # as parts of one sequence they cannot differ
        return NotImplemented
    f(p.q, p.k, p.v)
    try:
        f(p.q, p.k, p.v[:-few])
    except REFUSALS:
        return None
    return f"{'one value' if few == 1 else f'{few} values'} too few was accepted"


def no_queries(f: Subject, p: Problem) -> Any:
    """No query gives an empty output."""
    if f.square or f.lengths.multiple_of > 1:
        return NotImplemented
    return None if f(p.q[:0], p.k, p.v).shape == (0, p.v.shape[1]) else "wrong shape for no queries"
