"""Haverbeck et al. 2026: coarse approximations of attention are hard, too."""

from proofs_check.papers.haverbeck_2026.close_pairs import THEOREMS
from proofs_check.papers.haverbeck_2026.coverage import COVERAGE

__all__ = ["COVERAGE", "THEOREMS"]
