"""What Zeng et al. 2021 claim that no finite computation can check."""

from __future__ import annotations

from proofs_check.statements.unchecked import ASYMPTOTIC, Unchecked

UNCHECKED = (
    Unchecked(
        statement="Attention estimation in linear time.",
        source="Zeng et al. 2021, abstract",
        reason=f"O(n) {ASYMPTOTIC}; the constant 2^τ m matters at every n in use.",
        instead=(
            "code.cost-yoso",
            "code.cost-yoso-sampled",
            "code.cost-regimes",
            "yoso.variance",
            "yoso.sampled-gradient",
        ),
        remark=(
            "Counted operations of our own code and their exponent in n; the exact variance at "
            "given m, and the gradient by tables."
        ),
    ),
)
