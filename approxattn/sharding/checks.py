"""What every front end refuses before it reads a number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from approxattn import _arrays
from approxattn._problem import input as rules
from approxattn.methods.sharded import Call, Shards
from approxattn.sharding.support import why_not


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


def check_cotangent_like(arrays: Mapping[str, Any], dtype: str) -> None:
    """Check what dout looks like against the output of q, k, v, whose dtype is given."""
    q, v, dout = (arrays[name] for name in ("q", "v", "dout"))
    shape = (*q.shape[:-1], v.shape[-1])
    if tuple(dout.shape) != shape:
        msg = f"dout has shape {tuple(dout.shape)}: it must be that of the output, {shape}"
        raise ValueError(msg)
    if np.dtype(dout.dtype) != np.dtype(dtype):
        msg = f"dout has dtype {dout.dtype}: it must be that of the output, {dtype}"
        raise TypeError(msg)


def call_of(arrays: Mapping[str, Any], dtype: str, **said: Any) -> Call:
    """Return what a method is told, from arrays that were checked."""
    q, k, v = (arrays[name] for name in ("q", "k", "v"))
    return Call(
        queries=int(q.shape[-2]),
        keys=int(k.shape[-2]),
        d=int(q.shape[-1]),
        dv=int(v.shape[-1]),
        dtype=dtype,
        **said,
    )


def shards_of(method: Any, call: Call, *, gradient: bool = False) -> Shards:
    """Return the method, or its gradient, as it works on blocks.

    Raises
    ------
    TypeError
        If it is no method, or none that can; if it draws and there is no seed.
    ValueError
        If its settings, the scale or the order has no such form.
    """
    name = type(method).__name__
    if not hasattr(method, "compute") or isinstance(method, type):
        msg = f"method is {method!r}: it must be an instance such as Polynomial(degree=4)"
        raise TypeError(msg)
    why = why_not(method, gradient=gradient, causal=call.causal)
    if why and call.causal and not why_not(method, gradient=gradient, causal=False):
        msg = f"causal=True with {name} in blocks of tokens: {why}"
        raise ValueError(msg)
    if why:
        what = f"the gradient of {name}" if gradient else name
        msg = f"{what} cannot be taken in blocks of tokens: {why}"
        raise TypeError(msg)
    if call.scale is not None and method.why_no_scale:
        msg = f"scale(={call.scale}) with {name}: {method.why_no_scale}; leave scale=None"
        raise ValueError(msg)
    rules.check_scale(call.scale, call.d, call.dtype)
    _check_seed(method, call.seed)
    shards: Shards = method.gradient_shards(call) if gradient else method.shards(call)
    return shards


def _check_seed(method: Any, seed: int | None) -> None:
    if seed is None and method.randomised:
        msg = (
            f"{type(method).__name__} draws random numbers: pass seed=0, or another integer; there "
            "is no hidden default"
        )
        raise TypeError(msg)
