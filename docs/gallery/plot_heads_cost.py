"""
Error against cost on 8 heads of a real encoder
===============================================

Every method on eight heads of a trained encoder (:func:`~approxattn.data.minilm_heads`): the error
against exact attention by the cost. :class:`~approxattn.Clustered`,
:class:`~approxattn.SelectedSummaries`, :class:`~approxattn.Linformer`,
:class:`~approxattn.FittedLinformer`, :class:`~approxattn.Nystrom`, :class:`~approxattn.Performer`,
:class:`~approxattn.Polynomial`, :class:`~approxattn.FittedPolynomial`, :class:`~approxattn.Yoso`,
:class:`~approxattn.YosoExpectation`, :class:`~approxattn.LSHSoftmax`.
:func:`~approxattn.diagnose` makes such a comparison for your data. Hollow marks are other
packages of the same methods (``./run.sh bench package-errors`` measures them).
"""

from proofs_check.figures import heads
from proofs_check.figures.output.show import show

show(heads.heads_cost())
