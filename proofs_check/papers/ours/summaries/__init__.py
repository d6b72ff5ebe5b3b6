"""Statements about summary keys, and about keys that are sampled or dropped."""

from proofs_check.papers.ours.summaries import cell, draws, dropped, geometry, mean_query, row

THEOREMS = (
    *mean_query.THEOREMS,
    *cell.THEOREMS,
    *row.THEOREMS,
    *geometry.THEOREMS,
    *draws.THEOREMS,
    *dropped.THEOREMS,
)
