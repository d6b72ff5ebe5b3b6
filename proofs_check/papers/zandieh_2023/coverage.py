"""What became of each statement of Zandieh et al. 2023: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="the sampling probabilities",
        says="norms of columns and of values together",
        entries=("kdeformer.both-norms", "kdeformer.best-probabilities"),
    ),
    Place(
        place="the spectral criterion",
        says="as for HyperAttention",
        entries=("hyper.null-baseline",),
    ),
    Place(
        place="theorem bodies",
        says="kernel density estimation in subquadratic time",
        absence="unread",
    ),
)
