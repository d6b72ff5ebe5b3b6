"""What became of each statement of Kacham et al. 2023: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="non-negative sketches",
        says="tensoring a sketch with itself",
        entries=("polysketch.non-negative", "polysketch.bias"),
    ),
    Place(
        place="polynomial sketches",
        says="mean and variance",
        entries=("polysketch.variance",),
    ),
    Place(
        place="lt_multiply",
        says="the causal product by blocks",
        entries=("polysketch.block-causal",),
    ),
    Place(
        place="theorem bodies",
        says="approximation guarantee of the sketches",
        absence="unread",
    ),
    Place(
        place="abstract, experiments",
        says="quality and speed of trained models",
        absence="not checkable",
        why="is about training, and was not repeated",
    ),
)
