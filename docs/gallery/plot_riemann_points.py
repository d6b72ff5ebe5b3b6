"""
The integral of f' from log⁴ n points
=====================================

The lower bound of Alman and Song (2024, AS24, Theorem E.5) says that a fast gradient would give
fast attention: it adds up gradients f' at m points to get the attention f(1) - f(0). The proof
takes m of the order log⁴ n and needs an error below 1/log⁴ n. For the function that the proof uses,
both can be computed.
"""

from proofs_check.figures import gradients
from proofs_check.figures.output.show import show

show(gradients.riemann_points())
