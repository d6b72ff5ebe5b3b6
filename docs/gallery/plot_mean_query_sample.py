"""
Relative variance of a cell's mass from one sampled key
=======================================================

In place of a summary a key of the cell can be drawn at random and weighted, which is right on
average (:class:`~approxattn.SelectedSummaries`). By which probabilities? Those that the mean query
of a block gives are shared by all its queries.
"""

from proofs_check.figures import summaries
from proofs_check.figures.output.show import show

show(summaries.mean_query_sample())
