"""
The lighter half of 16 cells of 16 keys, real heads
===================================================

A cell of keys has a centre and a radius. Could they tell, without a look at the keys, that a cell
weighs little and may be summarised (:class:`~approxattn.SelectedSummaries`)? The true weight of the
lighter half of the cells of each row, beside the most that cells with these centres and radii can
have.
"""

from proofs_check.figures import summaries
from proofs_check.figures.output.show import show

show(summaries.cell_geometry())
