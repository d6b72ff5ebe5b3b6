"""What moving the scores does to a softmax, as identities for the statements that rest on it.

Total variation between p = softmax(w) and p' = softmax(w + t) is attained on a set S of keys. With
p(S) = sigma(a), p'(S) = sigma(a + c), and |c| <= osc(t) <= 2 max|t|: the log-odds of S change by
the difference of two averages of t in the exponential sense. Let c > 0 (else exchange the two).
Then

    sigma(a + c) - sigma(a) = sinh(c/2) / (cosh(a + c/2) + cosh(c/2)) <= sinh(c/2) / (1 + cosh(c/2))
        = tanh(c/4),

so TV <= tanh(osc(t)/4) <= tanh(max|t| / 2), and |p' V - p V| <= osc(V) TV.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proofs_check.statements.experiment import Identity

__all__ = ["attend", "largest_shift"]


def largest_shift() -> list[Identity]:
    """The two identities and the remaining square, with z = e^a and y = e^{c/4}."""
    from sympy import symbols

    z, y = symbols("z y", positive=True)
    moved = z * y**4 / (1 + z * y**4) - z / (1 + z)
    sinh, cosh = (y**2 - y**-2) / 2, (y**2 + y**-2) / 2
    cosh_middle = (z * y**2 + 1 / (z * y**2)) / 2
    return [
        Identity(moved, sinh / (cosh_middle + cosh), "sigma(a + c) - sigma(a)"),
        Identity(sinh / (1 + cosh), (y - 1 / y) / (y + 1 / y), "tanh(c/4)"),
        Identity(
            cosh_middle - 1,
            (z * y**2 - 1) ** 2 / (2 * z * y**2),
            "cosh - 1 is a square over a positive number",
        ),
    ]


def attend(scores: Sequence[Any], values: Sequence[Any]) -> Any:
    """Enclose sum_j e^{s_j} v_j / sum_j e^{s_j} for balls of scores and exact values."""
    from flint import arb

    top = max((s.mid() for s in scores), key=float)
    weights = [(s - top).exp() for s in scores]
    return sum((w * arb(v) for w, v in zip(weights, values, strict=True)), arb(0)) / sum(
        weights, arb(0)
    )
