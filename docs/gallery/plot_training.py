"""
A student that learns by approximate gradients
==============================================

Does a network learn as well by approximate gradients as by exact ones? A student of two residual
layers learns what a teacher of the same form makes of random tokens, by
:func:`~approxattn.transformer.gradient` with several methods: :class:`~approxattn.Polynomial` of
degree 2 and 6 and :class:`~approxattn.YosoExpectation`. All students start from the same weights.
"""

from proofs_check.figures import training
from proofs_check.figures.output.show import show

show(training.training())
