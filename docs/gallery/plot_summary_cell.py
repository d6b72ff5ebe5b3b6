"""
One summary key for 16 keys of a real head, queries of a block of 8
===================================================================

:class:`~approxattn.SelectedSummaries` lets one summary key stand for a cell of neighbouring keys,
with the weight that the mean query of a block gives them. For another query q of the block, how
much of the cell's weight is missed, and how far is its mean value off? Both depend on ρ, the range
of the change of the scores in the cell.
"""

from proofs_check.figures import summaries
from proofs_check.figures.output.show import show

show(summaries.summary_cell())
