"""Agreement with softmax attention computed plainly, asked of functions that claim to be it."""

from __future__ import annotations

from typing import Any

import numpy as np

from approxattn.testing.laws.shared import differ, single_tolerance, softmax
from approxattn.testing.problem import Problem
from approxattn.testing.subject import Subject


def agrees(f: Subject, p: Problem) -> Any:
    """The output is that of softmax attention, scale included."""
    if not f.exact:
        return NotImplemented
    return differ(p, f(p.q, p.k, p.v), softmax(f, p))


def agrees_in_float32(f: Subject, p: Problem) -> Any:
    """So it is in single precision."""
    if not f.exact:
        return NotImplemented
    r = p.astype("float32")
    out = f(r.q, r.k, r.v).astype(np.float64)
    return differ(p, out, softmax(f, r), single_tolerance(p))


def causal_agrees(f: Subject, p: Problem) -> Any:
    """So it is, row by row, under a causal mask."""
    if not f.exact or f.causal_name is None:
        return NotImplemented
    keep = np.tri(p.q.shape[0], p.k.shape[0], dtype=bool)
    return differ(p, f(p.q, p.k, p.v, **{f.causal_name: True}), softmax(f, p, keep))


def masked_agrees(f: Subject, p: Problem) -> Any:
    """So it is when every other key, by chance, is masked."""
    if not f.exact or f.mask_name is None:
        return NotImplemented
    keep = np.random.default_rng(3).integers(0, 2, p.k.shape[0]).astype(bool)
    keep[-1] |= not keep.any()
    return differ(p, f(p.q, p.k, p.v, **{f.mask_name: keep}), softmax(f, p, keep))
