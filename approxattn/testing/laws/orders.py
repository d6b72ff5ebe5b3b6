"""Laws of where queries stand: a causal offset, windows, packed sequences; asked of functions that
have the keyword.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from approxattn.testing.laws.shared import differ, ends, softmax
from approxattn.testing.problem import Problem
from approxattn.testing.subject import Subject

WINDOWS = ((3, 0), (0, 2), (17, 5), (64, 64))
"""Keys before and after that are tried."""


def offset(f: Subject, p: Problem) -> Any:
    """The last queries alone, at their positions among the keys, are what they are among all."""
    if f.causal_name is None or f.offset_name is None or f.square:
        return NotImplemented
    n = p.q.shape[0]
    whole = f(p.q, p.k, p.v, **{f.causal_name: True})
    for start in (end for end in ends(f, n) if f.lengths.has(n - end) and end < n):
        options = {f.causal_name: True, f.offset_name: start}
        complaint = differ(p, f(p.q[start:], p.k, p.v, **options), whole[start:])
        if complaint:
            return f"{complaint} of the queries from {start} on, at query_offset = {start}"
    return None


def window_agrees(f: Subject, p: Problem) -> Any:
    """Under a window, alone and causal, the output is that of softmax attention."""
    n = p.q.shape[0]
    if not f.exact or f.window_name is None or p.k.shape[0] != n:
        return NotImplemented
    far = np.arange(n) - np.arange(n)[:, None]  # j - i
    for before, after in WINDOWS:
        for causal in [{}] if f.causal_name is None else [{}, {f.causal_name: True}]:
            keep = (far >= -before) & (far <= (0 if causal else after))
            out = f(p.q, p.k, p.v, **{f.window_name: (before, after)}, **causal)
            complaint = differ(p, out, softmax(f, p, keep))
            if complaint:
                return f"{complaint} under a window of {before, after}{', causal' * bool(causal)}"
    return None


def beyond_window(f: Subject, p: Problem) -> Any:
    """What stands outside of the window of a query has no influence on it."""
    n = p.q.shape[0]
    if f.window_name is None or p.k.shape[0] != n:
        return NotImplemented
    before, after = 2, 1
    window = {f.window_name: (before, after)}
    out = f(p.q, p.k, p.v, **window)
    for end in ends(f, n):
        k, v = (np.concatenate([x[:end], 3 - 2 * x[end:]]) for x in (p.k, p.v))
        rows = max(0, end - after)
        complaint = differ(p, f(p.q, k, v, **window)[:rows], out[:rows])
        k, v = (np.concatenate([3 - 2 * x[:end], x[end:]]) for x in (p.k, p.v))
        rows = min(n, end + before)
        complaint = complaint or differ(p, f(p.q, k, v, **window)[rows:], out[rows:])
        if complaint:
            return f"{complaint.partition(' in row')[0]} by keys on the other side of {end}"
    return None


def segments(f: Subject, p: Problem) -> Any:
    """Packed sequences are as if each were alone, in full and in causal order; their numbers need
    not grow.
    """
    n = p.q.shape[0]
    if f.segments_name is None or p.k.shape[0] != n:
        return NotImplemented
    cuts = [0, *(end for end in ends(f, n) if end < n and f.lengths.has(n - end)), n]
    parts = [slice(a, b) for a, b in pairwise(cuts)]
    numbers = np.concatenate([np.full(p.stop - p.start, 99 - i) for i, p in enumerate(parts)])
    for causal in [{}] if f.causal_name is None else [{}, {f.causal_name: True}]:
        out = f(p.q, p.k, p.v, **{f.segments_name: numbers}, **causal)
        for part in parts:
            complaint = differ(p, out[part], f(p.q[part], p.k[part], p.v[part], **causal))
            if complaint:
                where = f"{part.start}..{part.stop - 1}{', causal' * bool(causal)}"
                return f"{complaint} of the sequence of tokens {where}"
    return None
