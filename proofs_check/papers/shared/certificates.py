"""Bounds of products on a box, as identities that computer algebra decides.

1. Let |x_i| <= X_i for i = 1, ..., k, and s = 1 or -1. Sum over all signs t_1, ..., t_k with
   product -s:
       sum prod_i (X_i + t_i x_i) = 2^{k-1} (X_1...X_k - s x_1...x_k).
2. Every factor on the left is at least 0, so s x_1...x_k <= X_1...X_k.
3. A sum of such products is bounded by the sum of the bounds, with one identity for the whole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from proofs_check.statements.experiment import Identity

__all__ = ["Product", "bounded_sum", "change_of_product"]

Product: TypeAlias = Sequence[tuple[Any, Any]]
"""Factors x_i with their bounds X_i >= |x_i|."""


def bounded_sum(value: Any, bound: Any, products: Sequence[Product], label: str) -> Iterator[Any]:
    """Yield the two identities that prove |value| <= bound.

    Parameters
    ----------
    value, bound : ring elements
        The two sides; they are not rebuilt from the products, so that a wrong one shows.
    products : sequence of sequences of pairs
        Products whose sum is the value, all with the same number of factors.
    label : str
        What is bounded.
    """
    scale = 2 ** (len(products[0]) - 1)
    for sign in (1, -1):
        parts = sum((_parts(product, sign) for product in products), 0 * bound)
        yield Identity(scale * (bound - sign * value), parts, f"{label}, sign {sign}")


def change_of_product(old: Product, change: Product) -> list[Product]:
    """Return the products whose sum is prod (x_i + e_i) - prod x_i, with |e_i| <= E_i.

    Parameters
    ----------
    old, change : sequences of pairs
        The factors x_i and their changes e_i, each with its bound.
    """
    choices = itertools.product((0, 1), repeat=len(old))
    return [
        [change[i] if chosen else old[i] for i, chosen in enumerate(choice)]
        for choice in choices
        if any(choice)
    ]


def _parts(product: Product, sign: int) -> Any:
    """The left-hand side of step 1."""
    signs = itertools.product((1, -1), repeat=len(product))
    return sum(
        math.prod(top + t * x for (x, top), t in zip(product, choice, strict=True))
        for choice in signs
        if math.prod(choice) == -sign
    )
