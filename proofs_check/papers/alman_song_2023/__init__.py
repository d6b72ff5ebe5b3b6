"""Alman & Song 2023: attention by a polynomial of bounded scores."""

from proofs_check.papers.alman_song_2023 import (
    attention_error,
    degree,
    halved_constant,
    lemmas,
    low_rank,
)
from proofs_check.papers.alman_song_2023.coverage import COVERAGE
from proofs_check.papers.alman_song_2023.unchecked import UNCHECKED

__all__ = ["COVERAGE", "THEOREMS", "UNCHECKED"]

THEOREMS = (
    *low_rank.THEOREMS,
    *attention_error.THEOREMS,
    *halved_constant.THEOREMS,
    *lemmas.THEOREMS,
    *degree.THEOREMS,
)
