"""Arrays that have no numbers yet: tracers of a compiler or of derivatives, lazy arrays.

Input is checked and certificates are computed from the numbers, so these are refused by name,
before an error deep inside says something else.
"""

from __future__ import annotations

import sys
from typing import Any

import array_api_compat as compat
import numpy as np


def refuse_unreadable(name: str, array: Any) -> None:
    """Raise TypeError for an array whose numbers cannot be read here, with what to do instead."""
    if isinstance(array, np.ndarray):
        return
    why = _jax(name, array) or _torch(name, array) or _lazy(name, array)
    if why:
        raise TypeError(why)


def _jax(name: str, array: Any) -> str:
    jax: Any = sys.modules.get("jax")
    if jax is None or not isinstance(array, jax.core.Tracer):
        return ""
    return (
        f"{name} is a tracer of JAX (jax.jit, grad, vmap, ...), which has no numbers to check and "
        "certify: call this function outside, and approxattn.attention_vjp for gradients; inside, "
        "wrap both by jax.pure_callback and join them by jax.custom_vjp"
    )


def _torch(name: str, array: Any) -> str:
    torch: Any = sys.modules.get("torch")
    if not hasattr(torch, "Tensor") or not isinstance(array, torch.Tensor):
        return ""
    if array.layout is not torch.strided:
        return f"{name} has layout {array.layout}: pass {name}.to_dense()"
    if array.device.type == "meta":
        return f"{name} lies on the device meta and has no numbers: pass a tensor that has"
    wrapped = getattr(getattr(torch._C, "_functorch", None), "is_functorch_wrapped_tensor", None)
    if wrapped is not None and wrapped(array):
        return (
            f"{name} is inside torch.func (vmap, grad, jvp, ...), which hides its numbers: leading "
            "axes broadcast, so pass the whole batch at once, and call approxattn.attention_vjp "
            "for gradients"
        )
    forward = torch.autograd.forward_ad
    if forward._current_level >= 0 and forward.unpack_dual(array).tangent is not None:
        return (
            f"{name} carries a tangent of torch's forward mode, which would be lost: call "
            "approxattn.attention_vjp for gradients"
        )
    return ""


def _lazy(name: str, array: Any) -> str:
    if compat.is_dask_array(array):
        return (
            f"{name} is a dask array, which is not computed yet: approxattn.dask.attention takes "
            "it as it is, or compute() it"
        )
    if compat.is_pydata_sparse_array(array):
        return f"{name} is a sparse array: pass {name}.todense()"
    if compat.is_ndonnx_array(array):
        return f"{name} is an array of ndonnx, which may have no numbers yet: pass unwrap_numpy()"
    return ""
