"""Tzachristas et al. 2025: attention to the k heaviest keys."""

from proofs_check.papers.tzachristas_2025 import real_heads, truncation
from proofs_check.papers.tzachristas_2025.coverage import COVERAGE

__all__ = ["COVERAGE", "THEOREMS"]

THEOREMS = (
    *truncation.THEOREMS,
    *real_heads.THEOREMS,
)
