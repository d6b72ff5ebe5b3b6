"""
Certificates of polynomial attention by degree
==============================================

:class:`~approxattn.Polynomial` attention returns a :class:`~approxattn.Certificate`, a bound on its
error that is computed with the output. A first bound knows only the range of the scores. Another
one uses sums that come with the denominator of the row anyway, the moments of its scores: it knows
how many scores are large, and not just that one may be.
"""

from proofs_check.figures import weights
from proofs_check.figures.output.show import show

show(weights.moments())
