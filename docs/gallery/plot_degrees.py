"""
Least degree of a polynomial within ε of exp on [-B, B]
=======================================================

:class:`~approxattn.Polynomial` attention replaces exp(s), for scores s within [-B, B], by a
polynomial P of the scores. The higher its degree the more it costs, so the first question is how
low the degree can be when the error max abs(P(s) - exp(s)) may be ε. Aggarwal and Alman (2022,
AA22) give the order of the least degree; here it is computed, with interval arithmetic from both
sides: :func:`~approxattn.exponential.degree_for` looks it up.
"""

from proofs_check.figures import exponential
from proofs_check.figures.output.show import show

show(exponential.degrees())
