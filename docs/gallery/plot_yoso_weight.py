"""
The weight of YOSO and the exponential, τ = 8
=============================================

:class:`~approxattn.Yoso` attention (Zeng et al. 2021) replaces the exponential by the probability p
that a query and a key have the same τ random signs, (1 - arccos(x)/π) to the power τ, where x is
their cosine. How near is that to exp(τ(x - 1))? And since its derivative is infinite at x = 1, the
paper trains by a surrogate: how near is that?
"""

from proofs_check.figures import hashing
from proofs_check.figures.output.show import show

show(hashing.yoso_weight())
