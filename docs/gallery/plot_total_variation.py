"""
Softmax rows whose weights are off by a relative ε
==================================================

A method computes each weight of a softmax row up to a factor between 1 - ε and 1 + ε. After
division by the sum, how far is the row from the exact one? The distance is the total variation,
half the sum of the absolute differences; it is what turns an error of weights into an error of the
output, and every :class:`~approxattn.Certificate` of a polynomial rests on it.
"""

from proofs_check.figures import weights
from proofs_check.figures.output.show import show

show(weights.total_variation())
