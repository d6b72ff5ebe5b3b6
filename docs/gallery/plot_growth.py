"""
Multiply-adds by the number of tokens, one head
===============================================

Attention costs n² for n tokens, and all methods here promise to grow like n. Multiply-adds are
counted, not timed, for :class:`~approxattn.Exact`, :class:`~approxattn.Polynomial`,
:class:`~approxattn.Linformer`, :class:`~approxattn.Nystrom`, :class:`~approxattn.Performer` and
:class:`~approxattn.Yoso`; `method.cost(...)` returns them (:class:`~approxattn.Cost`).
"""

from proofs_check.figures import costs
from proofs_check.figures.output.show import show

show(costs.growth())
