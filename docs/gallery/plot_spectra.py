"""
Singular values of eight real attention matrices
================================================

Is attention of low rank? The singular values of a softmax matrix say how well any matrix of rank r
can do, and so what :class:`~approxattn.Linformer` and :class:`~approxattn.Nystrom` can hope for.
Figure 1 of the Linformer paper shows their cumulative sum for a RoBERTa encoder; here are eight
heads of all-MiniLM-L6-v2, which come with the package (:func:`~approxattn.data.minilm_heads`).
"""

from proofs_check.figures import low_rank
from proofs_check.figures.output.show import show

show(low_rank.spectra())
