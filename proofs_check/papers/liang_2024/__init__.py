"""Liang et al. 2024: gradients of a multi-layer transformer."""

from proofs_check.papers.liang_2024 import (
    bounds,
    causal,
    causal_gradient,
    composition,
    double_sums,
    entry_terms,
    gradient,
    hypotheses,
    layer,
    low_rank_terms,
    printed_formulas,
    published_code,
)
from proofs_check.papers.liang_2024.coverage import COVERAGE
from proofs_check.papers.liang_2024.unchecked import UNCHECKED

__all__ = ["COVERAGE", "THEOREMS", "UNCHECKED"]

THEOREMS = (
    *gradient.THEOREMS,
    *entry_terms.THEOREMS,
    *double_sums.THEOREMS,
    *low_rank_terms.THEOREMS,
    *layer.THEOREMS,
    *composition.THEOREMS,
    *causal.THEOREMS,
    *causal_gradient.THEOREMS,
    *hypotheses.THEOREMS,
    *printed_formulas.THEOREMS,
    *bounds.THEOREMS,
    *published_code.THEOREMS,
)
