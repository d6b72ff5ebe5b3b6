"""What became of each statement of Gu et al. 2024: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="abstract, decomposition",
        says="any lower triangular matrix is a sum of convolutions",
        entries=("conv-basis.n-terms", "conv-basis.rank"),
    ),
    Place(
        place="abstract, attention",
        says="the basis of an attention matrix",
        entries=("conv-basis.normaliser", "conv-basis.exponential"),
    ),
    Place(
        place="abstract, time",
        says="O(k n d log n) by fast Fourier transforms",
        absence="not checkable",
        why="a count of operations up to a constant that is not given",
    ),
    Place(
        place="theorem bodies",
        says="recovery of the basis, errors, gradients",
        absence="unread",
    ),
)
