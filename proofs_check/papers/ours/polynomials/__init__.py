"""Statements about polynomials in the place of exp whose error moments of the scores bound."""

from proofs_check.papers.ours.polynomials import (
    leaning,
    majorants,
    moments,
    moments_gradient,
    one_sided,
)

THEOREMS = (
    *moments.THEOREMS,
    *moments_gradient.THEOREMS,
    *majorants.THEOREMS,
    *leaning.THEOREMS,
    *one_sided.THEOREMS,
)
