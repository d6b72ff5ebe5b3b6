"""What Alman & Song 2024 claim that no finite computation can check."""

from __future__ import annotations

from proofs_check.statements.unchecked import ASYMPTOTIC, SETH, Unchecked

UNCHECKED = (
    Unchecked(
        statement=(
            "The constants of the lower bound's family of instances, such as a(λ, i) <= n² e^(2 B "
            "λ)."
        ),
        source="Alman & Song 2024, E.3",
        reason=(
            "The definitions of the family were not at hand; a factor d is missing at least once, "
            "harmlessly for d = O(log n)."
        ),
        instead=("as24.derivative-printed", "as24.derivative-bound", "as24.riemann-sum"),
        remark=(
            "The bound of the derivative, refuted without the width of V and proved with it; the "
            "lemma E.4 that uses it, with the sharp constant."
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
