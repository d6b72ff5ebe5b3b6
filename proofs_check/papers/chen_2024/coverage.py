"""What became of each statement of Chen et al. 2024: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="rotary positions",
        says="scores see relative positions",
        entries=("rope.relative", "rope.entries"),
    ),
    Place(
        place="the gradient",
        says="what the fast algorithm approximates",
        entries=("rope.gradient",),
    ),
    Place(
        place="abstract, time and hardness",
        says="almost linear time below a threshold, and not above it",
        absence="not checkable",
        why="rests on the Strong Exponential Time Hypothesis, and on all algorithms",
    ),
    Place(
        place="theorem bodies",
        says="low-rank forms of the parts of the gradient",
        absence="unread",
    ),
)
