"""
What k projected keys save: Linformer, Table 3
==============================================

Table 3 of the :class:`~approxattn.Linformer` paper says how much time and memory k projected keys
save, for n tokens, on a GPU. Counting operations and numbers held explains most of it without a
GPU.
"""

from proofs_check.figures import linformer_table
from proofs_check.figures.output.show import show

show(linformer_table.linformer_savings())
