"""What became of each statement of Budzinskiy 2024: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="abstract, rank",
        says="O(log(n) ε^-2 log(1/ε)), whatever the dimension",
        entries=("budzinskiy.identity", "budzinskiy.signs"),
    ),
    Place(
        place="abstract, (ii), (iii), tensor trains",
        says="distances, positive-definite kernels, tensors",
        absence="unread",
    ),
)
