"""What Alman & Song 2024 claim that no finite computation can check."""

from __future__ import annotations

from proofs_check.statements.unchecked import ASYMPTOTIC, SETH, Unchecked

UNCHECKED = (
    Unchecked(
        statement=(
            "No O(n^(2-δ)) algorithm for the gradient with entries O(sqrt(log n) κ(n)), κ = ω(1)."
        ),
        source="Alman & Song 2024, Theorems 1.5 and E.5, from Lemma E.2",
        reason=f"It {SETH}.",
        instead=(
            "as24.derivative-printed",
            "as24.derivative-bound",
            "as24.second-derivative",
            "as24.riemann-sum",
            "as24.riemann-points",
        ),
        remark=(
            "The calculus of its proof, with constants, and the step that does not follow: the "
            "number of calls. The theorem may still hold."
        ),
    ),
    Unchecked(
        statement=(
            "Tensor attention below the threshold o((log n)^(1/3)) in n^(1+o(1)), above it not in "
            "n^(3-δ)."
        ),
        source="Alman & Song 2024 (ICLR), abstract",
        reason=f"The first half {ASYMPTOTIC}; the second {SETH}.",
        instead=("as24b.tensor-features",),
        remark="The factorisation that the first half needs, with its number of features.",
    ),
)
