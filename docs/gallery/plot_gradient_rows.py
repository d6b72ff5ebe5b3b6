"""
Rows of a gradient whose weights are off
========================================

Every gradient of attention goes through a row P = f ∘ (z - <f, z>), where f are the softmax weights
and z are the products of a gradient with the values. :func:`~approxattn.attention_vjp` puts
computed weights f̃ in the place of f: how far is the row off? Two numbers decide: ω, the largest z
less the smallest, and ln ρ, the same of ln(f̃ / f).
"""

from proofs_check.figures import weights
from proofs_check.figures.output.show import show

show(weights.gradient_rows())
