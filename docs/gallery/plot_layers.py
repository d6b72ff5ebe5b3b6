"""
Certificates through the layers of a transformer
================================================

In a transformer the error of one layer is the input of the next.
:func:`~approxattn.transformer.forward` carries bounds through residual layers of
:class:`~approxattn.Polynomial` attention; here they stand beside the true error, depth by depth.
"""

from proofs_check.figures import gradients
from proofs_check.figures.output.show import show

show(gradients.layers())
