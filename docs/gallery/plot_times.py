"""
Processor time by the number of tokens
======================================

The same methods as in :doc:`plot_growth`, with a clock: processor time of whole calls of
:func:`~approxattn.attention`, certificates included.
"""

from proofs_check.figures import costs
from proofs_check.figures.output.show import show

show(costs.times())
