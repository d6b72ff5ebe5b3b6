"""
Gradient formulas as printed and as corrected
=============================================

Two papers print formulas for gradients of attention: Alman and Song (2024, AS24) for one layer, and
Liang et al. (2024, LSS24) for layers of a transformer. Each formula is compared here with
differences of the loss itself, as it is printed and with a small correction;
:func:`~approxattn.attention_vjp` and :func:`~approxattn.transformer.gradient` compute the corrected
ones.
"""

from proofs_check.figures import gradients
from proofs_check.figures.output.show import show

show(gradients.printed_gradients())
