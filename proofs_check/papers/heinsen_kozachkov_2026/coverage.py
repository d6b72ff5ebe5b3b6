"""What became of each statement of Heinsen & Kozachkov 2026."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="README, the minimal basis of one Taylor term",
        says="(q·k)^p over C(d + p - 1, p) symmetric monomials",
        entries=("sata.symmetric-monomials",),
    ),
    Place(
        place="sata_attention.py, n_taylor = 4 and S / Z",
        says="the default number of terms, and the division by the sum of weights",
        entries=("sata.odd-degree", "sata.convex-hull"),
    ),
    Place(
        place="abstract and README, constant cost per token",
        says="cost and state do not grow with the context",
        absence="not checkable",
        why=(
            "The count of monomials is checked above, and that fixes the state; the throughputs "
            "are measurements on one GPU."
        ),
    ),
    Place(
        place="the paper's sections",
        says="derivation by symmetric chains, experiments",
        absence="unread",
    ),
)
