"""Check, statement by statement, what is claimed about approximate attention."""

from proofs_check import _interrupts  # noqa: F401  # first: it is there while the others are loaded
from proofs_check.statements.experiment import (
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
from proofs_check.statements.theorem import Source, Theorem
from proofs_check.statements.verdict import Status, Verdict

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
