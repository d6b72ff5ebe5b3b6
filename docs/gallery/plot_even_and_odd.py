"""
Taylor polynomials of even and odd degree
=========================================

Attention divides by the sum of its weights, so weights should be positive. The Taylor polynomials
P₂, P₄, ... of exp are positive everywhere; those of odd degree are not, and a published code has
degree 3 as its default (Heinsen and Kozachkov, keys beginning with `sata`). On the right a row of
three keys shows what that does to an output.
"""

from proofs_check.figures import exponential
from proofs_check.figures.output.show import show

show(exponential.even_and_odd())
