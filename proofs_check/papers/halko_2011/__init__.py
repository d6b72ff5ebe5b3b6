"""Halko, Martinsson & Tropp 2011: randomised range finders."""

from proofs_check.papers.halko_2011 import (
    gaussian_matrices,
    range_finder,
    structural,
    tails_and_powers,
)
from proofs_check.papers.halko_2011.coverage import COVERAGE

__all__ = ["COVERAGE", "THEOREMS"]

THEOREMS = (
    *structural.THEOREMS,
    *gaussian_matrices.THEOREMS,
    *range_finder.THEOREMS,
    *tails_and_powers.THEOREMS,
)
