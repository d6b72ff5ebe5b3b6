"""What Liang et al. 2024 claim that no finite computation can check."""

from __future__ import annotations

from proofs_check.statements.unchecked import ASYMPTOTIC, Unchecked

UNCHECKED = (
    Unchecked(
        statement="The gradient of m = n^(o(1)) layers in m n^(1+o(1)) with error 1/poly(n).",
        source="Liang et al. 2024, Theorem 4.2 and H.4",
        reason=(
            f"It {ASYMPTOTIC}; the induction of H.4 multiplies the error by poly(n) per layer, "
            "which it does not track."
        ),
        instead=(
            "lss24.gradient",
            "lss24.khatri-rao",
            "lss24.causal-prefix",
            "lss24.token-map",
            "lss24.activation-smooth",
            "lss24.residual-layer",
            "lss24.multi-head",
            "lss24.error-over-layers",
        ),
        remark=(
            "One layer exactly, with heads and residuals; over layers the error is multiplied by a "
            "constant per layer, which the paper does not bound."
        ),
    ),
)
