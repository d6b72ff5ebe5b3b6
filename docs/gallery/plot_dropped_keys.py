"""
Rows cut to their k heaviest keys, 8 real heads
===============================================

Keep the k heaviest keys of a row, and drop the rest: how far is the row off, and how far is its
output? The first is the weight that was dropped, and no other choice of k keys does better.
"""

from proofs_check.figures import summaries
from proofs_check.figures.output.show import show

show(summaries.dropped_keys())
