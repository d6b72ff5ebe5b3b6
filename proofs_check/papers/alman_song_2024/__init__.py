"""Alman & Song 2024: gradients by polynomials, and attention over pairs of keys."""

from proofs_check.papers.alman_song_2024 import (
    bounds,
    convention,
    derivative,
    exact_gradient,
    gradient,
    lemmas,
    low_rank_errors,
    lower_bound,
    second_derivative,
    tensor,
)
from proofs_check.papers.alman_song_2024.coverage import COVERAGE
from proofs_check.papers.alman_song_2024.unchecked import UNCHECKED

__all__ = ["COVERAGE", "THEOREMS", "UNCHECKED"]

THEOREMS = (
    *gradient.THEOREMS,
    *exact_gradient.THEOREMS,
    *convention.THEOREMS,
    *lemmas.THEOREMS,
    *low_rank_errors.THEOREMS,
    *bounds.THEOREMS,
    *derivative.THEOREMS,
    *second_derivative.THEOREMS,
    *lower_bound.THEOREMS,
    *tensor.THEOREMS,
)
