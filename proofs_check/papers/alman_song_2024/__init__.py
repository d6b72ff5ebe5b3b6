"""Alman & Song 2024: gradients by polynomials, and attention over pairs of keys."""

from proofs_check.papers.alman_song_2024 import bounds, gradient, lemmas, tensor

THEOREMS = (*gradient.THEOREMS, *lemmas.THEOREMS, *tensor.THEOREMS, *bounds.THEOREMS)
