"""Hypothesis strategies for problems of attention, which shrink to numbers that can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from approxattn.testing.calls import Host
from approxattn.testing.problem import Problem

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy


def problems(
    *,
    n: int | SearchStrategy[int] | None = None,
    d: int | SearchStrategy[int] | None = None,
    dv: int | SearchStrategy[int] | None = None,
    same_length: bool = False,
    dtype: str = "float64",
    scale: float | None = None,
    largest_score: float = 8.0,
    largest_value: float = 4.0,
) -> SearchStrategy[Problem]:
    """Draw queries, keys and values of one head.

    All numbers are multiples of 1/8: ties and zeros are frequent, no number is rounded in any
    dtype, and a counterexample can be read.

    Parameters
    ----------
    n : int or strategy, optional
        Number of keys and of queries, each drawn by itself; 1 to 6 unless given.
    d : int or strategy, optional
        Columns of queries and keys; 1 to 3 unless given.
    dv : int or strategy, optional
        Columns of the values; 1 or 2 unless given.
    same_length : bool
        As many queries as keys, as a causal mask needs.
    dtype : str
        Of the arrays.
    scale : float or None
        Factor of q . k; None is 1/sqrt(d).
    largest_score : float
        Bound of the size of scale q . k, whatever d is. It bounds the entries of q and k by the
        root of largest_score / (d scale); they are all 0 where that is below 1/8.
    largest_value : float
        Bound of the sizes of the values.

    Returns
    -------
    hypothesis.strategies.SearchStrategy
        Of `Problem`.

    Raises
    ------
    ValueError
        When a bound leaves no number but 0.
    """
    from hypothesis import strategies as st

    def among(given: int | SearchStrategy[int] | None, most: int) -> SearchStrategy[int]:
        if given is None:
            return st.integers(1, most)
        return st.just(given) if isinstance(given, int) else given

    for name, bound in (("largest_score", largest_score), ("largest_value", largest_value)):
        if not bound >= 1 / 8:
            msg = f"{name}(={bound}) must be at least 1/8, the smallest number that is drawn"
            raise ValueError(msg)
    lengths, widths, columns = among(n, 6), among(d, 3), among(dv, 2)

    @st.composite
    def problem(draw: DrawFn) -> Problem:
        n_k = draw(lengths)
        n_q = n_k if same_length else draw(lengths)
        width = draw(widths)
        beta = width**-0.5 if scale is None else abs(scale)
        # d top^2 beta <= largest_score
        top = (largest_score / (width * beta)) ** 0.5 if beta else largest_score
        q, k = draw(_eighths((n_q, width), top, dtype)), draw(_eighths((n_k, width), top, dtype))
        v = draw(_eighths((n_k, draw(columns)), largest_value, dtype))
        return Problem(name="drawn", q=q, k=k, v=v)

    return problem()


def _eighths(shape: tuple[int, int], top: float, dtype: str) -> SearchStrategy[Host]:
    from hypothesis import strategies as st
    from hypothesis.extra.numpy import arrays

    most = int(8 * top)
    return arrays(dtype, shape, elements=st.integers(-most, most).map(lambda i: i / 8))


def key_masks(n_k: int) -> SearchStrategy[Any]:
    """Draw masks over the keys, True where one takes part; at least one does.

    Parameters
    ----------
    n_k : int
        Number of keys.

    Returns
    -------
    hypothesis.strategies.SearchStrategy
        Of bool arrays of shape (n_k,). They shrink to all keys taking part.

    Raises
    ------
    ValueError
        When there is no key.
    """
    from hypothesis import strategies as st

    if n_k < 1:
        msg = f"n_k(={n_k}) must be at least 1: a mask keeps one key"
        raise ValueError(msg)
    left_out = st.sets(st.integers(0, n_k - 1), max_size=n_k - 1)
    return left_out.map(lambda places: ~np.isin(np.arange(n_k), list(places)))
