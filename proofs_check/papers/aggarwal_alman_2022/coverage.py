"""Statement by statement: what became of the paper of Aggarwal & Alman.

The abstract was read word for word; the bodies of the theorems were not at hand.
"""

from __future__ import annotations

from proofs_check.statements.coverage import Place

COVERAGE: tuple[Place, ...] = (
    Place(
        place="Abstract, degree of e^-x",
        says="d(e^-x) = Θ(max{sqrt(B L), L / log(L/B)})",
        entries=(
            "aa22.degree-formula",
            "aa22.minimal-degree",
            "aa22.leading-coefficient-decaying",
            "aa22.leading-coefficient-short",
        ),
    ),
    Place(
        place="Abstract, degree of e^x",
        says="d(e^x) = Θ(max{B, L / log(L/B)})",
        entries=(
            "aa22.minimal-degree",
            "aa22.minimal-degrees-table",
            "aa22.leading-coefficient",
            "aa22.leading-coefficient-short",
        ),
    ),
    Place(
        place="Abstract, leading coefficients",
        says="the constants in front, in most regimes",
        entries=(
            "aa22.leading-coefficient",
            "aa22.leading-coefficient-decaying",
            "aa22.leading-coefficient-short",
        ),
    ),
    Place(
        place="The tool: Chebyshev expansion (classical)",
        says="best error of a degree from both sides",
        entries=("aa22.chebyshev-tail", "aa22.minimax-bounds", "aa22.elementary-bounds"),
    ),
    Place(
        place="Kernel density estimation, from degree to rank",
        says="a polynomial of squared distances has low rank",
        entries=("aa22.kernel-rank",),
    ),
    Place(
        place="Abstract, Gaussian kernel density estimation",
        says="n^(1+o(1)), n^(1+O(log log κ^-1 / log κ^-1)) and n^(2-o(1)) in three regimes of B",
        absence="not checkable",
        why=(
            "exponents as n grows, the last one under SETH; they rest on the degree and the rank, "
            "which are exact here"
        ),
    ),
    Place(place="Bodies of the theorems and their proofs", says="the same", absence="unread"),
)
