"""Statements of our own, proved here."""

from proofs_check.papers.ours import (
    estimators,
    even_taylor,
    gradient_layer,
    gradient_row,
    identities,
    layers,
    layers_gradient,
    partial_scores,
    polynomials,
    polynomials_conditioning,
    scores,
    summaries,
    taylor,
    weights,
)

THEOREMS = (
    *weights.THEOREMS,
    *polynomials.THEOREMS,
    *partial_scores.THEOREMS,
    *scores.THEOREMS,
    *even_taylor.THEOREMS,
    *taylor.THEOREMS,
    *gradient_row.THEOREMS,
    *gradient_layer.THEOREMS,
    *layers.THEOREMS,
    *layers_gradient.THEOREMS,
    *identities.THEOREMS,
    *summaries.THEOREMS,
    *estimators.THEOREMS,
    *polynomials_conditioning.THEOREMS,
)
