"""What Alman & Song 2023 claim that no finite computation can check."""

from __future__ import annotations

from proofs_check.statements.unchecked import ASYMPTOTIC, SETH, Unchecked

UNCHECKED = (
    Unchecked(
        statement=(
            "No O(n^(2-q)) algorithm approximates attention with entries of C sqrt(log n), for any "
            "q > 0."
        ),
        source="Alman & Song 2023, lower bound; Alman & Song 2024, Theorem 1.5 for the gradient",
        reason=f"It {SETH}.",
    ),
    Unchecked(
        statement=(
            "Attention with d = O(log n) and entries o(sqrt(log n)) in time n^(1+o(1)) with error "
            "1/poly(n)."
        ),
        source=(
            "Alman & Song 2023, upper bound; Alman & Song 2024, Theorem 1.6; Liang et al. 2024, "
            "Theorem 4.1"
        ),
        reason=f"n^(1+o(1)) {ASYMPTOTIC}.",
        instead=(
            "as23.low-rank",
            "as23.attention-error",
            "as23.degree-corrected",
            "as23.score-bound",
            "as24.error-propagation",
            "code.cost-regime",
            "code.cost-regime-degree",
        ),
        remark=(
            "Rank, degree and error with constants; with d = log n the exponent is above 1 for "
            "every n that fits a machine."
        ),
    ),
    Unchecked(
        statement="An (ε, r)-approximation has g = O(max{log(1/ε)/log(log(1/ε)/R), R²}).",
        source="Alman & Song 2023, Lemma 3.4",
        reason=f"The O {ASYMPTOTIC}; the printed ratio is refuted with a constant.",
        instead=("as23.degree", "as23.degree-corrected"),
    ),
)
