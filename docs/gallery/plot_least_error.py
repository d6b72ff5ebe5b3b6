"""
Least error of a polynomial next to exp on [-B, B]
==================================================

How near can a polynomial of degree n come to exp on [-B, B]? The least error E(n, B) lies between
two sums of modified Bessel functions I, which is where the least degrees of :doc:`plot_degrees`
come from. The rings are errors of best polynomials found by the exchange algorithm and enclosed by
interval arithmetic (:func:`~approxattn.exponential.minimax` returns them).
"""

from proofs_check.figures import exponential
from proofs_check.figures.output.show import show

show(exponential.least_error())
