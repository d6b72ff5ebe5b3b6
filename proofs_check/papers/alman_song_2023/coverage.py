"""Statement by statement: what became of the paper of 2023 by Alman & Song.

The abstract and the main theorems were read; the lemmas of sections 3 and 4 were not at hand in the
paper's own text, apart from what later papers restate word for word.
"""

from __future__ import annotations

from proofs_check.statements.coverage import Place

COVERAGE: tuple[Place, ...] = (
    Place(
        place="Definitions 1.1, 1.2",
        says="attention with scores Q Kᵀ / d, and its approximation",
        absence="definition",
    ),
    Place(
        place="Theorem 1.3 (4.6)",
        says="no subquadratic algorithm for entries C sqrt(log n), under SETH",
        absence="not checkable",
        why="it rests on the Strong Exponential Time Hypothesis, and on all algorithms",
    ),
    Place(
        place="Theorem 1.4 (3.8)",
        says="almost linear time for entries o(sqrt(log n))",
        absence="not checkable",
        why="n^(1+o(1)) is asymptotic; rank, degree and error of a given n are the entries below",
    ),
    Place(place="Definition 3.1", says="(ε, r)-approximation of a matrix", absence="definition"),
    Place(
        place="Lemma 3.2, as remembered",
        says="P(Q Kᵀ) has rank C(2(g+d), 2g)",
        entries=("as23.low-rank",),
    ),
    Place(place="Lemma 3.3, as remembered", says="|Q Kᵀ| / d <= B²", entries=("as23.score-bound",)),
    Place(
        place="Lemma 3.4, as Liang et al. 2024 restate it",
        says="degree O(max{log(1/ε)/log(log(1/ε)/R), R²})",
        entries=("as23.degree", "as23.degree-corrected"),
    ),
    Place(
        place="Lemma 3.5, as remembered",
        says="|D̃ - D| <= ε D",
        entries=("as23.normaliser-error",),
    ),
    Place(
        place="Lemmas 3.6 and 3.7, as remembered",
        says="error 2 ε max |V| of the output",
        entries=(
            "as23.attention-error",
            "as23.normaliser-free",
            "as23.normaliser-corrected",
            "as23.halved-constant",
        ),
    ),
    Place(
        place="Section 4 up to 4.5 and appendix B",
        says="gadgets of the lower bound",
        absence="unread",
    ),
    Place(
        place="Lemma 4.7, as Alman & Song 2024 restate it (E.2)",
        says="hardness on a family with half of each row equal to B",
        absence="not checkable",
        why="it rests on SETH; its consequences for the gradient are in the room of that paper",
    ),
)
