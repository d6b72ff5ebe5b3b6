"""A kit for other people's work: `check_attention` examines an attention function, `check_claim` a
theorem of one's own.

>>> import numpy as np
>>> from proofs_check.kit import check_attention
>>> def attention(q, k, v):
...     s = q @ k.T / q.shape[1] ** 0.5
...     w = np.exp(s - s.max(axis=1, keepdims=True))
...     return w @ v / w.sum(axis=1, keepdims=True)
>>> check_attention(attention).ok
True
"""

from approxattn.testing.findings import Examination, Finding
from proofs_check.kit.attention import check_attention
from proofs_check.kit.claims import check_claim

__all__ = ["Examination", "Finding", "check_attention", "check_claim"]
