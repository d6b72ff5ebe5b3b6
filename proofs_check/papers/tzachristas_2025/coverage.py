"""What became of each statement of Tzachristas et al. 2025: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="abstract, total variation",
        says="the mass cut off",
        entries=("top-k.tail-mass", "top-k.real-heads"),
    ),
    Place(
        place="abstract, KL",
        says="total variation from the divergence",
        entries=("top-k.divergence",),
    ),
    Place(
        place="abstract, output error",
        says="head and tail means",
        entries=("top-k.output-error",),
    ),
    Place(
        place="abstract, boundary gap",
        says="a bound from the ordered scores",
        entries=("top-k.gap",),
    ),
    Place(
        place="abstract, Gaussian scores",
        says="the least k for a given total variation, asymptotically",
        absence="not checkable",
        why="is asymptotic: no finite n can refute or support it",
    ),
    Place(
        place="theorem bodies",
        says="multi-gap and blockwise bounds, variance",
        absence="unread",
    ),
)
