"""Schröder & Mackey 2026: WildCat."""

from proofs_check.papers.schroeder_2026.coresets import THEOREMS
from proofs_check.papers.schroeder_2026.coverage import COVERAGE

__all__ = ["COVERAGE", "THEOREMS"]
