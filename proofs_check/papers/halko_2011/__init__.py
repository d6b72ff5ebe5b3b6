"""Halko, Martinsson & Tropp 2011: randomised range finders."""

from proofs_check.papers.halko_2011 import range_finder

THEOREMS = (*range_finder.THEOREMS,)
