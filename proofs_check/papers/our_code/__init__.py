"""Claims about the code of approxattn: certificates, gradients, counted costs."""

from proofs_check.papers.our_code import (
    certificates,
    cost,
    cost_hashing,
    cost_layers,
    cost_low_rank,
    cost_selected,
    gradients,
)

THEOREMS = (
    *certificates.THEOREMS,
    *gradients.THEOREMS,
    *cost.THEOREMS,
    *cost_hashing.THEOREMS,
    *cost_layers.THEOREMS,
    *cost_low_rank.THEOREMS,
    *cost_selected.THEOREMS,
)
