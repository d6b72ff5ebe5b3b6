"""What moving the scores does to a softmax, as identities for the statements that rest on it.

Let p = softmax(w) and p' = softmax(w + t), and sigma the logistic function.

1. The total variation of p and p' is attained on a set S of keys: TV = |p'(S) - p(S)|.
2. Let p(S) = sigma(a) and p'(S) = sigma(a + c), and let c > 0 (else exchange the two).
3. c is the difference of two averages of t in the exponential sense: |c| <= osc(t) <= 2 max|t|.
4. sigma(a + c) - sigma(a) = sinh(c/2) / (cosh(a + c/2) + cosh(c/2)).
5. That is at most sinh(c/2) / (1 + cosh(c/2)) = tanh(c/4).
6. So TV <= tanh(osc(t)/4) <= tanh(max|t| / 2).
7. |p' V - p V| <= osc(V) TV.
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
