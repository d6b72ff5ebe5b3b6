"""
The cheapest attention within 1 % of the spread of the values
=============================================================

Which attention is cheapest, if its error is to be within 1 % of the spread of the values for
certain? It depends on the range B of the scores, the width d of a head, and the number n of tokens:
one cell each. :class:`~approxattn.Auto` decides by the same counts.
"""

from proofs_check.figures import costs
from proofs_check.figures.output.show import show

show(costs.regime_map())
