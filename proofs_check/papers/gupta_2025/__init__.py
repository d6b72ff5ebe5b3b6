"""Gupta et al. 2025: attention at any temperature."""

from proofs_check.papers.gupta_2025 import any_temperature, relevant_keys
from proofs_check.papers.gupta_2025.coverage import COVERAGE

__all__ = ["COVERAGE", "THEOREMS"]

THEOREMS = (*relevant_keys.THEOREMS, *any_temperature.THEOREMS)
