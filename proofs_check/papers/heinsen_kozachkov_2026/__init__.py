"""Heinsen & Kozachkov 2026: symmetric Taylor features."""

from proofs_check.papers.heinsen_kozachkov_2026 import taylor_features
from proofs_check.papers.heinsen_kozachkov_2026.coverage import COVERAGE

__all__ = ["COVERAGE", "THEOREMS"]

THEOREMS = (*taylor_features.THEOREMS,)
