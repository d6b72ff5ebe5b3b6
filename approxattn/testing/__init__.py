"""Checks for attention functions of your own: laws, block ends, masks, gradients and conduct.

>>> import numpy as np
>>> from approxattn.testing import Attention, check_attention
>>> def attention(q, k, v):
...     s = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1]).astype(q.dtype)
...     w = np.exp(s - s.max(axis=-1, keepdims=True, initial=-np.finfo(s.dtype).max))
...     return w @ v / w.sum(axis=-1, keepdims=True)
>>> check_attention(Attention(attention)).ok
True

Needs NumPy; `parametrize_with_checks` needs pytest, `problems` and `key_masks` need Hypothesis
(``pip install 'approxattn[testing]'``).
"""

from approxattn.testing.attention import Attention
from approxattn.testing.checks import NoOutputError, assert_law, attention_checks, check_attention
from approxattn.testing.findings import Examination, Finding
from approxattn.testing.marking import parametrize_with_checks
from approxattn.testing.problem import Problem
from approxattn.testing.strategies import key_masks, problems

__all__ = [
    "Attention",
    "Examination",
    "Finding",
    "NoOutputError",
    "Problem",
    "assert_law",
    "attention_checks",
    "check_attention",
    "key_masks",
    "parametrize_with_checks",
    "problems",
]
