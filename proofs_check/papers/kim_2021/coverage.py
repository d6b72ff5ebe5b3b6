"""What became of each statement of Kim et al. 2021: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="abstract, dot products",
        says="not Lipschitz on all inputs",
        entries=("kim.unbounded", "kim.row-derivative"),
    ),
    Place(
        place="abstract, L2 attention",
        says="Lipschitz",
        entries=("kim.distances",),
    ),
    Place(
        place="theorem bodies",
        says="upper bounds in two norms",
        absence="unread",
    ),
)
