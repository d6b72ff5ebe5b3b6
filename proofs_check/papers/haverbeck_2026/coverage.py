"""What became of each statement of Haverbeck et al. 2026: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="Definitions and Problems 1 to 4",
        says="attention, approximations with and without preprocessing",
        absence="definition",
    ),
    Place(
        place="Theorems 3.7, 4.1, Propositions A.3, A.6",
        says="no subquadratic time, under SETH",
        absence="not checkable",
        why="rests on the Strong Exponential Time Hypothesis, and on all algorithms",
    ),
    Place(
        place="Lemma A.4",
        says="small thresholds are easy",
        absence="not checkable",
        why="is asymptotic: no finite n can refute or support it",
    ),
    Place(
        place="Lemma A.5",
        says="a close pair shows in one coarse entry",
        entries=("haverbeck.close-pairs",),
    ),
    Place(
        place="Lemma A.7",
        says="clipped exponential noise makes one score lead",
        entries=("haverbeck.clipped-exponentials",),
    ),
    Place(
        place="Lemma A.8 and what follows",
        says="a close pair shows in a sparse approximation",
        absence="unread",
    ),
)
