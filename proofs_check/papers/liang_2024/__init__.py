"""Liang et al. 2024: gradients of a multi-layer transformer."""

from proofs_check.papers.liang_2024 import (
    bounds,
    causal,
    gradient,
    hypotheses,
    layer,
    printed_formulas,
    published_code,
)
from proofs_check.papers.liang_2024.unchecked import UNCHECKED

__all__ = ["THEOREMS", "UNCHECKED"]

THEOREMS = (
    *gradient.THEOREMS,
    *layer.THEOREMS,
    *causal.THEOREMS,
    *hypotheses.THEOREMS,
    *printed_formulas.THEOREMS,
    *bounds.THEOREMS,
    *published_code.THEOREMS,
)
