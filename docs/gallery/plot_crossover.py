"""
From how many tokens on a polynomial is cheaper
===============================================

:class:`~approxattn.Polynomial` attention of degree g costs as much a token as exact attention with
about C(d + g, g) tokens, the number of its features. From which n on is it cheaper?
"""

from proofs_check.figures import costs
from proofs_check.figures.output.show import show

show(costs.crossover())
