"""What became of each statement of Desai et al. 2025: a line for each that was at hand."""

from proofs_check.statements.coverage import Place

COVERAGE = (
    Place(
        place="authors' page, Sampling Budget Bound",
        says="how many residual keys are enough for a sum",
        entries=(
            "vattention.normal-budget",
            "vattention.sure-budget",
            "vattention.normal-limit",
        ),
    ),
    Place(
        place="authors' page, residual sums are unbiased",
        says="the estimates of numerator and denominator",
        entries=("vattention.mean-of-estimate",),
    ),
    Place(
        place="abstract, (ε, δ) guarantee",
        says="user-specified guarantees on the accuracy",
        entries=("vattention.on-heads",),
    ),
    Place(
        place="published code, adaptive sampling",
        says="quantile, base sample, masks, the denominator alone",
        entries=(
            "vattention.code-quantile",
            "vattention.code-duplicates",
            "vattention.denominator-only",
            "vattention.on-heads-coded",
        ),
    ),
    Place(
        place="theorem bodies",
        says="the guarantee of numerator, denominator and output, and its proof",
        absence="unread",
    ),
)
