"""What became of each statement of Han et al. 2023: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="abstract, parameter (1)",
        says="the max column norm in the normalised matrix",
        entries=("hyper.alpha-on-heads",),
    ),
    Place(
        place="the spectral criterion",
        says="when an output is accepted",
        entries=("hyper.null-baseline",),
    ),
    Place(
        place="sampling by row norms",
        says="the approximate product with the values",
        entries=("hyper.row-norms",),
    ),
    Place(
        place="the normaliser",
        says="from the row sums to the criterion",
        entries=("hyper.normaliser",),
    ),
    Place(
        place="theorem bodies, sortLSH",
        says="near-linear time under bounds on the parameters",
        absence="unread",
    ),
)
