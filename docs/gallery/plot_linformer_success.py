"""
How often Linformer's theorems come true, n = 512
=================================================

:class:`~approxattn.Linformer` multiplies keys and values by a random matrix of k rows (Wang et al.
2020). Its two theorems promise a small error with high probability once k reaches 5 ln n / (ε² -
ε³). The probability of success can be computed exactly for inputs on which they do badly, and
compared with what is claimed.
"""

from proofs_check.figures import low_rank
from proofs_check.figures.output.show import show

show(low_rank.linformer_success())
