"""What became of each statement of Zandieh et al. 2024: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="the main theorem, error bound",
        says="when an output is accepted",
        entries=("subgen.null-baseline",),
    ),
    Place(
        place="online ℓ2 sampling on values",
        says="which value a stream keeps",
        entries=("subgen.reservoir",),
    ),
    Place(
        place="online clustering of keys",
        says="the normaliser from samples of each cluster",
        entries=("subgen.cluster-variance",),
    ),
    Place(
        place="theorem bodies",
        says="sublinear memory for clusterable keys",
        absence="unread",
    ),
)
