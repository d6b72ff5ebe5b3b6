"""Desai et al. 2025: verified sparse attention (vAttention)."""

from proofs_check.papers.desai_2025 import budget, heads, published_code
from proofs_check.papers.desai_2025.coverage import COVERAGE

__all__ = ["COVERAGE", "THEOREMS"]

THEOREMS = (
    *budget.THEOREMS,
    *published_code.THEOREMS,
    *heads.THEOREMS,
)
