"""Alman & Song 2023: attention by a polynomial of bounded scores."""

from proofs_check.papers.alman_song_2023 import attention_error, degree, halved_constant, lemmas
from proofs_check.papers.alman_song_2023.unchecked import UNCHECKED

__all__ = ["THEOREMS", "UNCHECKED"]

THEOREMS = (
    *attention_error.THEOREMS,
    *halved_constant.THEOREMS,
    *lemmas.THEOREMS,
    *degree.THEOREMS,
)
