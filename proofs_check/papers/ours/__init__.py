"""Statements of our own, proved here."""

from proofs_check.papers.ours import (
    even_taylor,
    gradient_layer,
    gradient_row,
    hashing,
    identities,
    landmarks_and_features,
    layers,
    matrices,
    partial_scores,
    polynomials_conditioning,
    sampling,
    scores,
    sketches,
    taylor,
    weights,
)

THEOREMS = (
    *weights.THEOREMS,
    *partial_scores.THEOREMS,
    *scores.THEOREMS,
    *even_taylor.THEOREMS,
    *taylor.THEOREMS,
    *gradient_row.THEOREMS,
    *gradient_layer.THEOREMS,
    *layers.THEOREMS,
    *identities.THEOREMS,
    *sketches.THEOREMS,
    *sampling.THEOREMS,
    *hashing.THEOREMS,
    *landmarks_and_features.THEOREMS,
    *matrices.THEOREMS,
    *polynomials_conditioning.THEOREMS,
)
