"""What became of each statement of Aliakbarpour et al. 2025: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="the decomposition",
        says="disjoint supports, and what an overlap costs",
        entries=("support-basis.disjoint", "support-basis.overlap"),
    ),
    Place(
        place="the exact part",
        says="how many scores large entries touch",
        entries=("support-basis.support",),
    ),
    Place(
        place="the polynomial part",
        says="the error it leaves",
        entries=("support-basis.error",),
    ),
    Place(
        place="theorem bodies",
        says="sub-Gaussian entries, several thresholds",
        absence="unread",
    ),
)
