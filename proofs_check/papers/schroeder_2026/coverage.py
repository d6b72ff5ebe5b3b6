"""What became of each statement of Schröder & Mackey 2026: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="randomly pivoted Cholesky",
        says="what pivots leave of the trace",
        entries=("wildcat.one-pivot", "wildcat.two-pivots"),
    ),
    Place(
        place="Nyström weights",
        says="weights that reconstruct best",
        entries=("wildcat.best-weights", "wildcat.negative-normaliser"),
    ),
    Place(
        place="abstract, error",
        says="n^(-√log log n) in near-linear time",
        absence="not checkable",
        why="is asymptotic: no finite n can refute or support it",
    ),
    Place(
        place="theorem bodies",
        says="the error bound and the choice of the temperature",
        absence="unread",
    ),
)
