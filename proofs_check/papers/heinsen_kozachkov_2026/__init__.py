"""Heinsen & Kozachkov 2026: symmetric Taylor features."""

from proofs_check.papers.heinsen_kozachkov_2026 import taylor_features

THEOREMS = (*taylor_features.THEOREMS,)
