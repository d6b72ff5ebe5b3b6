"""Check, statement by statement, what is claimed about approximate attention."""

from proofs_check.experiment import (
    Assumption,
    Comparison,
    Continuous,
    Count,
    Enclose,
    Falsify,
    Identity,
    Plan,
    Sample,
    Scale,
    Symbolic,
)
from proofs_check.theorem import Source, Theorem
from proofs_check.verdict import Status, Verdict

__all__ = [
    "Assumption",
    "Comparison",
    "Continuous",
    "Count",
    "Enclose",
    "Falsify",
    "Identity",
    "Plan",
    "Sample",
    "Scale",
    "Source",
    "Status",
    "Symbolic",
    "Theorem",
    "Verdict",
]
