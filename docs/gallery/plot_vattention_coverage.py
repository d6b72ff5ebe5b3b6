"""
How often vAttention is off by over 10 %, 8 real heads
======================================================

vAttention (Desai et al. 2025) samples keys until the denominator of a row is right within ε with
probability 1 - δ, by the central limit theorem. How often is it off? The printed rule and that of
the published code, on heads of a real encoder, asked for δ between 0.01 and 0.3.
"""

from proofs_check.figures import guarantees
from proofs_check.figures.output.show import show

show(guarantees.vattention_coverage())
