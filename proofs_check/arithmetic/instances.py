"""Hypothesis strategies for attention inputs: simple and degenerate first, extreme later.

Hypothesis finds exact structure (ties, zeros, duplicated tokens) and shrinks towards small
integers. All arrays are float arrays whose entries are dyadic numbers, so that ball and rational
arithmetic take them exactly. Hypothesis is imported when a strategy is built.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

__all__ = ["arrays", "heads", "integers", "numbers"]

Strategy = Any
"""A Hypothesis ``SearchStrategy``."""

Magnitude = Literal["small", "wide"]


def numbers(magnitude: Magnitude = "small") -> Strategy:
    """Floats: integers in [-3, 3], then quarters in [-4, 4], then any float in [-8, 8]; ``wide``
    adds 2^-100 to 2^40 of both signs.
    """
    from hypothesis import strategies as st

    small = st.integers(-3, 3).map(float)
    quarters = st.integers(-16, 16).map(lambda i: i / 4)
    ordinary = st.floats(-8, 8, allow_subnormal=False, width=32).map(float)
    if magnitude == "small":
        return st.one_of(small, quarters, ordinary)
    powers = st.builds(
        lambda sign, e: sign * 2.0**e, st.sampled_from((1.0, -1.0)), st.integers(-100, 40)
    )
    return st.one_of(small, quarters, ordinary, powers)


def integers(bound: int = 3) -> Strategy:
    """Floats that are integers in [-bound, bound]: what a shrunk counterexample looks like."""
    from hypothesis import strategies as st

    return st.integers(-bound, bound).map(float)


def arrays(
    rows: int, columns: int, entries: Strategy | None = None, *, dtype: str = "float64"
) -> Strategy:
    """Arrays of shape (rows, columns): constant, with duplicated rows, or free; entries from
    `numbers` unless given.
    """
    from hypothesis import strategies as st

    entries = numbers() if entries is None else entries
    row = st.lists(entries, min_size=columns, max_size=columns)
    constant = row.map(lambda r: [r] * rows)
    repeated = st.lists(row, min_size=1, max_size=2).flatmap(
        lambda pool: st.lists(st.sampled_from(pool), min_size=rows, max_size=rows)
    )
    free = st.lists(row, min_size=rows, max_size=rows)
    return st.one_of(constant, repeated, free).map(
        lambda x: np.array(x, dtype=dtype).reshape(rows, columns)
    )


def heads(
    *,
    max_tokens: int = 6,
    max_width: int = 4,
    min_tokens: int = 1,
    entries: Strategy | None = None,
    dtypes: tuple[str, ...] = ("float64",),
    square: bool = True,
) -> Strategy:
    """Instances ``{"q": (n_q, d), "k": (n_k, d), "v": (n_k, dv)}`` of one head.

    Parameters
    ----------
    max_tokens, max_width, min_tokens : int
        Limits of n_q, n_k and of d, dv. Sizes are drawn first and shrink towards the smallest.
    entries : strategy or None
        Of the numbers, `numbers` with small magnitude unless given.
    dtypes : tuple of str
        Among "float32" and "float64"; all three arrays get the same.
    square : bool
        Whether n_q = n_k.
    """
    from hypothesis import strategies as st

    tokens, widths = st.integers(min_tokens, max_tokens), st.integers(1, max_width)

    @st.composite
    def build(draw: Any) -> dict[str, np.ndarray[Any, Any]]:
        n_k, d, dv = draw(tokens), draw(widths), draw(widths)
        n_q = n_k if square else draw(tokens)
        dtype = draw(st.sampled_from(dtypes))
        return {
            "q": draw(arrays(n_q, d, entries, dtype=dtype)),
            "k": draw(arrays(n_k, d, entries, dtype=dtype)),
            "v": draw(arrays(n_k, dv, entries, dtype=dtype)),
        }

    return build()
