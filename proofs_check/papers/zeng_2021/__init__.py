"""Zeng et al. 2021: YOSO."""

from proofs_check.papers.zeng_2021 import (
    bias_and_ends,
    collision,
    gradient,
    hadamard_hashing,
    shape,
    variance,
)
from proofs_check.papers.zeng_2021.coverage import COVERAGE
from proofs_check.papers.zeng_2021.unchecked import UNCHECKED

__all__ = ["COVERAGE", "THEOREMS", "UNCHECKED"]

THEOREMS = (
    *collision.THEOREMS,
    *shape.THEOREMS,
    *variance.THEOREMS,
    *gradient.THEOREMS,
    *hadamard_hashing.THEOREMS,
    *bias_and_ends.THEOREMS,
)
