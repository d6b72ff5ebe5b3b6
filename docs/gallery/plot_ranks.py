"""
Rank of a polynomial of degree g in q · k, d = 8
================================================

A polynomial of degree g in the d products of a query and a key is a matrix of low rank, and that is
why :class:`~approxattn.Polynomial` attention takes time linear in the number n of tokens. How low?
The number of monomials of degree up to g in d variables is enough; the lemma of Alman and Song
(2023) counts them with 2g and 2d.
"""

from proofs_check.figures import exponential
from proofs_check.figures.output.show import show

show(exponential.ranks())
