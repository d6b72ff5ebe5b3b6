"""What every front end refuses before it reads a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._problem import input as rules
from approxattn.methods.sharded import Shardable, Shards


class Dtypes(NamedTuple):
    """Names of the dtypes computed in and handed out."""

    compute: str
    out: str


def check_shapes(arrays: Mapping[str, Any], *, causal: bool) -> Dtypes:
    """Check what q, k, v look like, by their `shape` and `dtype`.

    Raises
    ------
    TypeError
        Several dtypes, or one without an attention.
    ValueError
        Shapes that do not fit, leading axes that differ, no output, causal and n_q != n_k.
    """
    # of one number each, repeated: an array of any shape without memory
    like = {n: np.broadcast_to(np.zeros((), x.dtype), x.shape) for n, x in arrays.items()}
    q, k, v = (like[name] for name in ("q", "k", "v"))
    rules.check_dtypes(q, k, v)
    rules.check_shapes(q, k, v)
    if not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        msg = (
            f"leading axes {q.shape[:-2]}, {k.shape[:-2]}, {v.shape[:-2]} of q, k, v differ: "
            "blocks are not repeated; make them equal"
        )
        raise ValueError(msg)
    shape = (*q.shape[:-1], v.shape[-1])
    if not math.prod(shape):
        msg = f"the output has shape {shape} and no entry: approxattn.attention takes such input"
        raise ValueError(msg)
    if causal and q.shape[-2] != k.shape[-2]:
        msg = (
            f"causal=True with {q.shape[-2]} queries and {k.shape[-2]} keys: blocks of tokens need "
            "as many of each"
        )
        raise ValueError(msg)
    compute, given = _arrays.compute_dtype_name(q, "q"), _arrays.dtype_name(q)
    return Dtypes(compute, given if "float" in given else compute)


def shards_of(method: Any, scale: float | None, d: int, dtype: str, *, causal: bool) -> Shards:
    """Return the method as it works on blocks.

    Raises
    ------
    TypeError
        If it is no method, or none that can.
    ValueError
        If its settings, the scale or the order has no such form.
    """
    name = type(method).__name__
    if not hasattr(method, "compute") or isinstance(method, type):
        msg = f"method is {method!r}: it must be an instance such as Polynomial(degree=4)"
        raise TypeError(msg)
    if not isinstance(method, Shardable):
        msg = (
            f"{name} cannot be taken in blocks of tokens: use Polynomial(...), or "
            "approxattn.attention, which holds everything in memory"
        )
        raise TypeError(msg)
    if causal and method.why_not_causal:
        msg = f"causal=True with {name}: {method.why_not_causal}"
        raise ValueError(msg)
    rules.check_scale(scale, d, dtype)
    return method.shards(scale=scale)
