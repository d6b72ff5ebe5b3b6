"""
Error at a quarter of the cost, 8 real heads
============================================

An error of 0.5 sounds good until one knows what no attention at all would have. Three outputs that
look at no score, zero, the mean of the values, and what the papers' criteria make of them, beside
methods with a quarter of the cost of exact attention: :class:`~approxattn.Clustered`,
:class:`~approxattn.Linformer`, :class:`~approxattn.FittedLinformer`, :class:`~approxattn.Nystrom`,
:class:`~approxattn.Performer`.
"""

from proofs_check.figures import heads
from proofs_check.figures.output.show import show

show(heads.heads_null())
