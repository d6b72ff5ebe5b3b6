"""What became of each statement of Gupta et al. 2025: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="abstract, upper bound",
        says="time n^(2 - 1/d) for constant d, with log B only",
        entries=(
            "gupta.relevant-keys",
            "gupta.half-planes",
            "gupta.half-lines",
            "gupta.prefix-moments",
            "gupta.any-temperature",
        ),
    ),
    Place(
        place="abstract, lower bounds",
        says="n^(2 - o(1)) for d = 2^Θ(log* n), and for d = poly(n)",
        absence="not checkable",
        why="rests on the Strong Exponential Time Hypothesis, and on all algorithms",
    ),
    Place(
        place="theorem bodies, Theorem 5.4 among them",
        says="the algorithm and the gadgets of the lower bound",
        absence="unread",
    ),
)
