"""Counted cost of attention to selected keys and summaries.

n_q = n_k = n without order and windows: C = n / b blocks of b queries, each of which meets its own
b keys, S first keys, T heavy ones and G summaries. n is a multiple of b.
"""

from __future__ import annotations

from typing import Any

from proofs_check.papers.our_code.counted import Cost, Formula, Settings, Work, bits


def _blocks(n: Any, s: Settings) -> Any:
    return n // s["block"] if isinstance(n, int) else n / s["block"]


def _products(passes: int, a: int, b: int) -> Formula:
    """Return passes n (b + S + T + G)(d + dv) + C n d + C n (a d + b dv) + C G d, without the
    second term for T = G = 0, and without the last two for G = 0.
    """

    def formula(n: Any, d: Any, dv: Any, s: Settings) -> Any:
        t, g, blocks = s["heavy"], s["summaries"], _blocks(n, s)
        met = passes * n * (s["block"] + s["sinks"] + t + g) * (d + dv)
        sought = blocks * n * d if t or g else 0
        means = blocks * (n * (a * d + b * dv) + g * d) if g else 0
        return met + sought + means

    return formula


def _functions(n: Any, _d: Any, _dv: Any, s: Settings) -> Any:
    """Exponentials of all pairs and of far keys at the mean queries, logarithms of masses."""
    g = s["summaries"]
    met = n * (s["block"] + s["sinks"] + s["heavy"] + g)
    return met + (_blocks(n, s) * (n + g) if g else 0)


def _heavy(n: Any, _d: Any, _dv: Any, s: Settings) -> Any:
    """Order the n keys of each block, their scores, and their places, where there are heavy
    ones.
    """
    return 3 * _blocks(n, s) * n * bits(n - 1) if s["heavy"] else 0


def _back(n: Any, d: Any, dv: Any, s: Settings) -> Any:
    """And sort the places of all keys that are met exactly, and find both ends of n keys."""
    places = _blocks(n, s) * (s["block"] + s["sinks"] + s["heavy"])
    return _heavy(n, d, dv, s) + places * bits(places - 1) + 2 * n * bits(places)


COSTS = (
    Cost(
        name="selected-summaries",
        method="SelectedSummaries",
        settings=tuple(
            {"heavy": t, "recent": 0, "summaries": g, "sinks": s, "block": b}
            for t, g, s, b in ((2, 2, 1, 4), (3, 0, 2, 8), (0, 3, 1, 2))
        ),
        statement=(
            "SelectedSummaries without windows, T heavy keys, S first keys, G summaries, C = n/b "
            "blocks, M = b + S + T + G: n M (d + dv) + C n (2d + dv) + C G d multiplications, "
            "n M + C (n + G) exponentials and logarithms and 3 C n ⌈log₂ n⌉ comparisons forward; "
            "3 n M (d + dv) + C n (6d + 3 dv) + C G d and the same functions for the gradient. "
            "Means cost nothing for G = 0, the search nothing for T = 0."
        ),
        forward=Work(products=_products(1, 1, 1), functions=_functions, sorting=_heavy, exponent=2),
        gradient=Work(products=_products(3, 5, 3), functions=_functions, sorting=_back, exponent=2),
        remarks=(
            "Quadratic in n with the small factor 1 / b: every block looks at every key once.",
            "NumPy finds the heavy keys by selection, which is cheaper than to order them.",
        ),
    ),
)

THEOREMS = tuple(cost.theorem() for cost in COSTS)
