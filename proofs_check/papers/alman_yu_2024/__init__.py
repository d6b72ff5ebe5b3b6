"""Alman & Yu 2024: what subquadratic alternatives cannot do."""

from proofs_check.papers.alman_yu_2024.argmax import THEOREMS
from proofs_check.papers.alman_yu_2024.coverage import COVERAGE

__all__ = ["COVERAGE", "THEOREMS"]
