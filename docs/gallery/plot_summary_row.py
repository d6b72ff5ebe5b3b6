"""
Total variation of a row in which summaries have the weight r
=============================================================

In :class:`~approxattn.SelectedSummaries` some keys of a row are met exactly, others by summary
keys, whose scores are off by η at most. If the summaries have the weight r in the row, how far does
the whole row move?
"""

from proofs_check.figures import summaries
from proofs_check.figures.output.show import show

show(summaries.summary_row())
