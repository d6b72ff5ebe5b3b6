"""
Plans whose methods are all bad: how likely is one taken?
=========================================================

:func:`~approxattn.plan` tries methods in turn on a few blocks of your data and takes the first that
looks good enough. With enough bad methods one of them will look good by chance. The worst case is
enumerated exactly, for the rule that plans use and for three others.
"""

from proofs_check.figures import guarantees
from proofs_check.figures.output.show import show

show(guarantees.plan_confidence())
