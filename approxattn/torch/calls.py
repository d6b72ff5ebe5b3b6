"""Calls of the core from tensors: NumPy views on the CPU, tensors as they are elsewhere.

A view costs nothing, and NumPy has the faster ways through the core. bfloat16 has a NumPy dtype
only where `ml_dtypes` is loaded; without it the core computes on the tensors, so that its
certificate still counts the rounding to bfloat16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from approxattn.attend import attention, attention_vjp
from approxattn.certificate import Certificate
from approxattn.methods.protocol import why_no
from approxattn.torch.masks import Structure, Tensor

Array = Any


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What one call asks for beside its tensors."""

    method: Any
    scale: float | None
    seed: int | None
    structure: Structure
    softcap: float | None = None
    sinks: Tensor | None = None
    certify: bool = True


def compute(q: Tensor, k: Tensor, v: Tensor, setting: Setting) -> tuple[Tensor, Certificate]:
    """Return the output, shape (..., H, n_q, dv), and its certificate.

    `k` and `v` may have fewer heads H than q, a divisor: they are shared, and never repeated.
    """
    groups = _groups(q, k, v)
    setting = _at_heads(setting, q, k, groups)
    a, b, c = _arrays_of(*_grouped(q, k, v, groups), holder=setting.method)
    found = attention(a, b, c, setting.method, **_keywords(setting, a))
    value = _silenced(_tensor_of(found.value), setting.structure.empty)
    if groups == 1:
        return value, found.certificate
    return value.flatten(-4, -3), _flat(found.certificate)


def pull(
    q: Tensor, k: Tensor, v: Tensor, dout: Tensor, setting: Setting
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return dq, dk, dv in the shapes of q, k, v, as `attention_vjp` has them, and the gradient of
    the sinks, of size 0 where there are none.
    """
    groups, sinks = _groups(q, k, v), setting.sinks
    setting = _at_heads(setting, q, k, groups)
    if groups > 1:
        dout = dout.unflatten(-3, (k.shape[-3], groups))
    dout = _silenced(dout, setting.structure.empty)
    a, b, c, g = _arrays_of(*_grouped(q, k, v, groups), dout, holder=setting.method)
    keywords = _keywords(setting, a) | {"certify": False}  # nobody would see the bounds
    found = attention_vjp(a, b, c, g, setting.method, **keywords)
    grads = (found.dq, found.dk, found.dv)
    dq, dk, dv = (
        _tensor_of(grad).reshape(x.shape) for grad, x in zip(grads, (q, k, v), strict=True)
    )
    if sinks is None:
        return dq, dk, dv, q.new_empty(0)
    own = _tensor_of(found.parameters["sinks"]).reshape(sinks.shape)
    return dq, dk, dv, own.to(sinks.dtype)


def _flat(certificate: Certificate) -> Certificate:
    """Return a certificate whose two axes of grouped heads are one again."""
    rows, promised = certificate.rows, certificate.promised
    if promised is not None:
        promised = promised.reshape(*promised.shape[:-2], -1)
    flat = rows.reshape(*rows.shape[:-3], -1, rows.shape[-1])
    return replace(certificate, rows=flat, promised=promised)


def _groups(q: Tensor, k: Tensor, v: Tensor) -> int:
    """Return the number of query heads that share each head of the keys."""
    if min(q.ndim, k.ndim, v.ndim) < 3:
        return 1
    heads, keys, values = q.shape[-3], k.shape[-3], v.shape[-3]
    if 1 in (heads, keys) or heads == keys:
        return 1  # leading axes broadcast
    if keys != values or heads % keys:
        msg = (
            f"{heads} heads of queries, {keys} of keys and {values} of values: keys and values "
            "must have the same number, a divisor of that of the queries"
        )
        raise ValueError(msg)
    return int(heads // keys)


def _grouped(q: Tensor, k: Tensor, v: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    if groups == 1:
        return q, k, v
    return q.unflatten(-3, (k.shape[-3], groups)), k.unsqueeze(-3), v.unsqueeze(-3)


def _at_heads(setting: Setting, q: Tensor, k: Tensor, groups: int) -> Setting:
    """Return the setting with the masks on the axes that grouped heads lie on."""
    if groups == 1:
        return setting
    old = setting.structure

    def placed(x: Tensor | None, own: int) -> Tensor | None:
        """Split the axis of heads, which stands before `own` axes of tokens."""
        if x is None or x.ndim <= own:
            return x
        at = -own - 1
        if x.shape[at] == q.shape[-3]:
            return x.unflatten(at, (k.shape[-3], groups))
        return x.unsqueeze(at)

    segments = old.segments
    if segments is not None:
        segments = placed(segments[0], 1), placed(segments[1], 1)
    structure = Structure(
        key_mask=placed(old.key_mask, 1),
        causal=old.causal,
        query_offset=old.query_offset,
        window=old.window,
        segments=segments,
        bias=placed(old.bias, 2),
        empty=placed(old.empty, 1),
    )
    return replace(setting, structure=structure, sinks=placed(setting.sinks, 0))


def _silenced(x: Tensor, empty: Tensor | None) -> Tensor:
    """Return x with 0 in the rows that see no key."""
    return x if empty is None else x.masked_fill(empty[..., None], 0.0)


def _keywords(setting: Setting, like: Array) -> dict[str, Any]:
    """Return the keywords of the core."""
    put, given = _putter(like), setting.structure
    reason = why_no(setting.method, "bias")
    if given.bias is not None and reason:
        msg = (
            "attn_mask holds biases, or is no key mask, causal order, window or packing of "
            f"sequences with a key mask; {type(setting.method).__name__}: {reason}"
        )
        raise ValueError(msg)
    found: dict[str, Any] = {
        "scale": _scale(setting.method, setting.scale, int(like.shape[-1])),
        "causal": given.causal,
        "window": given.window,
        "empty_rows": "zero",  # as torch has it
        "certify": setting.certify,
    }
    if given.causal or given.window is not None:
        found["query_offset"] = given.query_offset
    if given.key_mask is not None:
        found["key_mask"] = put(given.key_mask)
    if given.segments is not None:
        found["segments"] = tuple(put(x) for x in given.segments)
    if given.bias is not None:
        wide = torch.promote_types(given.bias.dtype, torch.float32)  # NumPy has no bfloat16
        found["bias"] = put(given.bias.to(wide))
    if setting.softcap is not None:
        found["softcap"] = setting.softcap
    if setting.sinks is not None:
        found["sinks"] = put(
            setting.sinks.to(torch.promote_types(setting.sinks.dtype, torch.float32))
        )
    if setting.method.randomised:
        found["rng"] = np.random.default_rng(setting.seed)
    return found


def _scale(method: Any, scale: float | None, d: int) -> float | None:
    """Return the scale to ask for: models state the usual 1/sqrt(d), which is none to a method
    whose weights have no scale.
    """
    if scale is None or not method.why_no_scale:
        return scale
    return None if math.isclose(scale, 1 / math.sqrt(d), rel_tol=1e-15) else scale


def _arrays_of(*tensors: Tensor, holder: Any) -> tuple[Array, ...]:
    """Return NumPy views of CPU tensors, or the tensors where that cannot be."""
    tensors = tuple(x.detach() for x in tensors)
    own = any(isinstance(x, torch.Tensor) for x in vars(holder).values())
    if own or any(x.device.type != "cpu" for x in tensors):
        return tensors
    if tensors[0].dtype is not torch.bfloat16:
        return tuple(x.resolve_neg().numpy() for x in tensors)
    try:
        half = np.dtype("bfloat16")
    except TypeError:
        return tensors
    return tuple(x.view(torch.int16).numpy().view(half) for x in tensors)


def _putter(like: Array) -> Any:
    if isinstance(like, np.ndarray):
        return lambda x: x.detach().numpy()
    return lambda x: x.detach()


def _tensor_of(x: Array) -> Tensor:
    """Return a tensor, contiguous and with memory of its own."""
    if not isinstance(x, np.ndarray):
        return x.contiguous()
    x = np.require(x, requirements=["C", "W", "A"])
    if x.dtype.name == "bfloat16":
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)
