"""What Aggarwal & Alman 2022 claim that no finite computation can check."""

from __future__ import annotations

from proofs_check.statements.unchecked import ASYMPTOTIC, SETH, Unchecked

UNCHECKED = (
    Unchecked(
        statement="d(e^-x) = Θ(max{sqrt(B L), L/log(L/B)}), d(e^x) = Θ(max{B, L/log(L/B)}).",
        source="Aggarwal & Alman 2022, abstract",
        reason=f"A Θ without constants {ASYMPTOTIC}.",
        instead=(
            "aa22.minimax-bounds",
            "aa22.minimal-degrees-table",
            "aa22.elementary-bounds",
            "aa22.leading-coefficient",
            "aa22.leading-coefficient-decaying",
            "aa22.leading-coefficient-short",
            "aa22.degree-formula",
        ),
        remark=(
            "Two-sided bounds with constants, exact values in 132 cells and on long intervals, and "
            "a domain note: the formula next to L = B."
        ),
    ),
    Unchecked(
        statement=(
            "Batch Gaussian kernel density estimation in n^(1+o(1)) for B = o(log n), and in "
            "n^(2-o(1)) at least for B = ω(log n)."
        ),
        source="Aggarwal & Alman 2022, abstract",
        reason=f"The first half {ASYMPTOTIC}; the second {SETH}.",
        instead=("aa22.minimal-degrees-table", "aa22.kernel-rank"),
        remark="The degree and the rank, on which the running time depends, are exact.",
    ),
)
