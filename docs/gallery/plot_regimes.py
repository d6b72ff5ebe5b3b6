"""
Where a polynomial pays, n = 2²⁰
================================

:class:`~approxattn.Polynomial` with `tolerance=0.01` takes the least degree that is certified for
scores within [-B, B]. The larger B, the higher the degree and the dearer a token, and soon exact
attention is cheaper (:class:`~approxattn.Regime`).
"""

from proofs_check.figures import costs
from proofs_check.figures.output.show import show

show(costs.regimes())
