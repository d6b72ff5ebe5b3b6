"""Alman & Song 2024: gradients by polynomials, and attention over pairs of keys."""

from proofs_check.papers.alman_song_2024 import bounds, gradient, lemmas, tensor
from proofs_check.papers.alman_song_2024.unchecked import UNCHECKED

__all__ = ["THEOREMS", "UNCHECKED"]

THEOREMS = (*gradient.THEOREMS, *lemmas.THEOREMS, *tensor.THEOREMS, *bounds.THEOREMS)
