"""What became of each statement of Castin et al. 2024: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="abstract, compact sets",
        says="√n up to a constant, and tight",
        entries=("castin.growth", "castin.stochastic-norm"),
    ),
    Place(
        place="abstract, mean field",
        says="bounds independent of n",
        absence="unread",
    ),
    Place(
        place="theorem bodies",
        says="constants, masked attention",
        absence="unread",
    ),
)
