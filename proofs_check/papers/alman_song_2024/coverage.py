"""Statement by statement: what became of the two papers of 2024 by Alman & Song.

The gradient paper was read to its last lemma. Of the tensor paper only the abstract was at hand.
"""

from __future__ import annotations

from proofs_check.statements.coverage import Place

_STEPS = ("as24.error-c", "as24.error-q", "as24.error-p1", "as24.error-p2")

COVERAGE: tuple[Place, ...] = (
    Place(
        place="Definitions 1.2 to 1.4, 3.1 to 3.7",
        says="the loss, its gradient and their parts",
        absence="definition",
    ),
    Place(
        place="Theorem 1.5 (formal: E.5)",
        says="no subquadratic gradient above the threshold, under SETH",
        entries=("as24.riemann-points",),
    ),
    Place(
        place="Theorem 1.6 (formal: D.6)",
        says="the gradient in n^(1+o(1)) below the threshold",
        entries=("as24.error-propagation", "as24.mixed-convention", *_STEPS),
    ),
    Place(
        place="Facts 3.8, 3.9, A.1, Lemma 3.10",
        says="rules for diag, Hadamard products and vec",
        absence="not checkable",
        why="notation: identities that hold for any matrices and test no idea of the paper",
    ),
    Place(place="Fact A.2", says="entrywise product of two products", entries=("as24.khatri-rao",)),
    Place(
        place="Facts A.3, A.4",
        says="costs of fast matrix multiplication",
        absence="not checkable",
        why="quoted facts about the exponent of matrix multiplication",
    ),
    Place(
        place="Lemma B.1",
        says="derivatives of u, α, f, c and L in one entry",
        entries=("as24.entry-derivatives",),
    ),
    Place(
        place="Lemmas C.1, C.2, C.4, C.6 and C.8 (4.1)",
        says="cost of the exact gradient",
        entries=("as24.exact-cost",),
    ),
    Place(place="Definitions C.3, C.5", says="q = c hᵀ, and p by rows", absence="definition"),
    Place(
        place="Lemma C.7",
        says="dL/dx = vec(A₁ᵀ p A₂)",
        entries=("as24.gradient", "as24.gradient-printed"),
    ),
    Place(
        place="Lemma D.1",
        says="f ≈ U₁V₁ᵀ under a bound of the entries",
        entries=("as24.hypothesis-printed", "as24.mixed-convention"),
    ),
    Place(place="Lemma D.2", says="c̃ = U₁V₁ᵀ h - E", entries=("as24.error-c",)),
    Place(
        place="Lemma D.3",
        says="low-rank form of q, printed as h cᵀ",
        entries=("as24.q-width", "as24.error-q", "as24.mixed-convention"),
    ),
    Place(
        place="Lemma D.4",
        says="low-rank form of p₁ = f ∘ q",
        entries=("as24.khatri-rao", "as24.error-p1", "as24.mixed-convention"),
    ),
    Place(
        place="Lemma D.5",
        says="low-rank form of p₂, by columns",
        entries=(
            "as24.p2-corrected",
            "as24.error-p2",
            "as24.columns-throughout",
            "as24.mixed-convention",
        ),
    ),
    Place(
        place="Definition E.1",
        says="the problem of attention computation",
        absence="definition",
    ),
    Place(
        place="Lemma E.2 (Lemma 4.7 of Alman & Song 2023)",
        says="hardness on a family with half of each row equal to B",
        absence="not checkable",
        why="it rests on SETH; its family is the hypothesis of the entries at E.3",
    ),
    Place(
        place="Lemma E.3",
        says="|f'| <= O(B n) and |f''| <= O(B² n)",
        entries=("as24.derivative-printed", "as24.derivative-bound", "as24.second-derivative"),
    ),
    Place(place="Lemma E.4", says="a Riemann sum of f'", entries=("as24.riemann-sum",)),
    Place(
        place="ICLR paper, abstract",
        says="almost linear below the threshold (log n)^(1/3)",
        entries=("as24b.score-bound", "as24b.tensor-features"),
    ),
    Place(
        place="ICLR paper, lemmas and lower bounds",
        says="rank, error and hardness for pairs of keys",
        absence="unread",
    ),
)
