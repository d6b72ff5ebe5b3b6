"""What became of each statement of Alman & Yu 2024: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="one head finds the most similar document",
        says="a gap makes the softmax point at the best key",
        entries=("alman-yu.argmax",),
    ),
    Place(
        place="orthogonal vectors",
        says="attention decides them",
        entries=("alman-yu.orthogonal-vectors",),
    ),
    Place(
        place="abstract, hardness",
        says="document similarity needs quadratic time, under SETH",
        absence="not checkable",
        why="rests on the Strong Exponential Time Hypothesis, and on all algorithms",
    ),
    Place(
        place="theorem bodies",
        says="variants of document similarity",
        absence="unread",
    ),
)
