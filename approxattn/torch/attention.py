"""`scaled_dot_product_attention` of torch, computed by a method."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import torch

from approxattn._arguments import check_choice, check_flag
from approxattn.methods.protocol import Method
from approxattn.torch.masks import Tensor, Window
from approxattn.torch.names import Named, named
from approxattn.torch.ops import Request, attended, by_torch
from approxattn.torch.records import Call, note, record_calls

Seed: TypeAlias = Any
"""An int, or a `torch.Generator` to draw one from."""

UNSUPPORTED = ("raise", "exact")
GRADIENTS = ("output", "method")


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    method: Method | str,
    seed: Seed | None = None,
    key_mask: Tensor | None = None,
    query_offset: int = 0,
    window: Window | None = None,
    segments: Tensor | tuple[Tensor, Tensor] | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    unsupported: str = "raise",
    gradient: str = "output",
    certify: bool = True,
    certificates: list[Any] | None = None,
    label: str = "",
) -> Tensor:
    """Compute attention by a method, under the signature of torch's own function.

    Parameters
    ----------
    query, key, value : tensor, shapes (..., H, n_q, d), (..., H_k, n_k, d), (..., H_k, n_k, dv)
        As in torch; on the CPU nothing is copied. Under autocast they are cast as torch does.
    attn_mask : tensor, shape broadcastable to (..., n_q, n_k), optional
        Bool, True where a key is seen, or floating and added to the scores. It is read as a key
        mask, causal order, a window or packed sequences. Where it is neither, or holds biases, it
        is for `Exact()` only. Entries of -inf or the dtype's least number hide a key. A row without
        keys gives 0.
    dropout_p : float
        Must be 0: no weights are formed that could be dropped.
    is_causal : bool
        Query i sees keys 0 ... i + query_offset; upper left by default, as in torch.
    scale : float, optional
        Factor of q . k; None means 1/sqrt(d).
    enable_gqa : bool
        Whether H may be a multiple of H_k. The shared heads are not repeated.
    method : Method or str
        The method, or the text of one: "Polynomial(degree=4, basis='taylor')".
    seed : int or torch.Generator, optional
        Needed by randomised methods: their draws follow from it, in backward as in forward. A
        generator gives a new seed at each call; with `torch.utils.checkpoint` let it be
        `torch.default_generator`, whose state is kept.
    key_mask : tensor of bool, shape broadcastable to (..., n_k), optional
        Keys that take part, in the place of an attn_mask of n_q rows.
    query_offset : int
        Position of query 0 among the keys: n_k - n_q for causal order aligned at the bottom right.
    window : (int or None, int or None), optional
        Keys before and after its own position that a query sees.
    segments : tensor of int, shape (..., n), or a pair (..., n_q), (..., n_k), optional
        Numbers of packed sequences; a query sees its own only.
    softcap : float, optional
        c of the scores c tanh(score / c), as in Gemma 2; for `Exact()` only.
    sinks : tensor, shape broadcastable to (..., H), optional
        Logits that join the denominators, as in gpt-oss; for `Exact()` only. They have a gradient.
    unsupported : {"raise", "exact"}
        What to do where the method cannot: an error with the reason, or torch's exact attention
        with an `ExactFallbackWarning`.
    gradient : {"output", "method"}
        "output" refuses gradients that are not those of the output returned (plug-in polynomials,
        sampled hashes ...); "method" takes what `approxattn.attention_vjp` has for the method.
    certify : bool
        False: the same value without its bounds, and for `Exact()` and
        ``Polynomial(degree=g, basis="taylor")`` without a look at the numbers: NaN then gives NaN,
        not an error. See `approxattn.attention`.
    certificates : list, optional
        The call's `Certificate` is appended to it; see also `record_calls`.
    label : str
        Stands in the `Call` that is recorded.

    Returns
    -------
    tensor, shape (..., H, n_q, dv)
        In the dtype and on the device of the query.

    Raises
    ------
    TypeError
        No method, or what `approxattn.attention` refuses.
    ValueError
        Certificates of a call with certify=False, dropout, two kinds of masks at once, a mask that
        the method cannot take, a gradient that is not of the output, a randomised method without a
        seed, and what `approxattn.attention` refuses.

    Examples
    --------
    >>> import torch
    >>> from approxattn.torch import scaled_dot_product_attention
    >>> q, k, v = torch.rand(3, 2, 4, 50, 8, dtype=torch.float64)
    >>> out = scaled_dot_product_attention(q, k, v, is_causal=True, method="Polynomial(degree=8)")
    >>> exact = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    >>> bool((out - exact).abs().max() < 1e-6)
    True
    """
    check_choice("unsupported", unsupported, UNSUPPORTED)
    check_choice("gradient", gradient, GRADIENTS)
    check_flag("certify", certify)
    if certificates is not None and not certify:
        msg = "certificates with certify=False: there are none; leave one of them out"
        raise ValueError(msg)
    chosen = named(method)
    query, key, value = _autocast(query, key, value)
    _check_heads(query, key, enable_gqa)
    request = _request(attn_mask, is_causal, key_mask, query_offset, window, segments, scale)
    request = replace(request, softcap=softcap, sinks=sinks)
    why = _refused(chosen, request, dropout_p, gradient, (query, key, value))
    if why:
        if unsupported == "raise":
            raise ValueError(why)
        note(Call(label=label, method=chosen.name, certificate=None, reason=why))
        return by_torch(query, key, value, request, dropout_p)
    request = replace(
        request,
        method=chosen.name,
        seed=_seed(chosen, seed),
        unsupported=unsupported,
        label=label,
        certify=certify,
    )
    if certificates is None:
        return attended(query, key, value, request)
    with record_calls() as calls:
        out = attended(query, key, value, request)
    certificates.extend(call.certificate for call in calls)
    return out


def _autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors in the dtype that torch's own function would see."""
    kind = tensors[0].device.type
    if not torch.amp.is_autocast_available(kind) or tensors[0].dtype is torch.float64:
        return tensors
    if not torch.is_autocast_enabled(kind):
        return tensors
    return tuple(x.to(torch.get_autocast_dtype(kind)) for x in tensors)


def _check_heads(query: Tensor, key: Tensor, shared: bool) -> None:
    """Refuse heads that share keys unless the caller says so, as torch does."""
    if shared or min(query.ndim, key.ndim) < 3:
        return
    heads, keys = query.shape[-3], key.shape[-3]
    if heads != keys and 1 not in (heads, keys):
        msg = (
            f"query has {heads} heads and key {keys}: make them equal, or pass enable_gqa=True for "
            "heads that share keys"
        )
        raise ValueError(msg)


def _request(
    attn_mask: Tensor | None,
    is_causal: bool,
    key_mask: Tensor | None,
    query_offset: int,
    window: Window | None,
    segments: Any,
    scale: float | None,
) -> Request:
    """Return the masks as one record, unless they say the same thing twice."""
    queries, keys = segments if isinstance(segments, tuple | list) else (segments, segments)
    before, after = window or (None, None)
    ordered = is_causal or window is not None
    if attn_mask is None:
        return Request(
            key_mask=key_mask,
            query_segments=queries,
            key_segments=keys,
            causal=is_causal,
            query_offset=query_offset if ordered else 0,
            before=before,
            after=after,
            scale=scale,
        )
    others = {"key_mask": key_mask, "window": window, "segments": segments}
    also = [name for name, given in others.items() if given is not None]
    also += ["is_causal"] if is_causal else []
    if also:
        msg = f"attn_mask and {also[0]} exclude each other: give one of them"
        raise ValueError(msg)
    if hasattr(attn_mask, "variant"):  # torch.nn.attention.bias.causal_lower_right and so on
        lower = attn_mask.variant.name == "LOWER_RIGHT"
        offset = attn_mask.seq_len_kv - attn_mask.seq_len_q if lower else 0
        return Request(causal=True, query_offset=offset, scale=scale)
    return Request(attn_mask=attn_mask, scale=scale)


def _refused(
    chosen: Named, request: Request, dropout: float, gradient: str, inputs: tuple[Tensor, ...]
) -> str:
    """Return why torch's graph cannot have this call, or nothing."""
    if dropout:
        return (
            f"dropout_p(={dropout}) drops weights, which are never formed: pass 0, and drop out "
            "outputs in its place"
        )
    if not torch.compiler.is_compiling() and any(map(_has_tangent, inputs)):
        return (
            "an input carries a tangent of torch's forward mode, which no method has: use backward"
        )
    if not torch.is_grad_enabled():
        return ""
    mask = request.attn_mask
    if mask is not None and mask.requires_grad:
        return "attn_mask requires a gradient, which no method has: detach() it"
    if chosen.parameter:
        return (
            f"{chosen.parameter} of {chosen.name} requires a gradient: call approxattn.attention, "
            "which has it"
        )
    if gradient == "method" or chosen.gradient_of_output:
        return ""
    if any(x.requires_grad for x in inputs):
        return (
            f"the gradient of {chosen.name} is not that of its output: pass gradient='method' to "
            "train with it all the same, or torch.no_grad()"
        )
    return ""


def _has_tangent(x: Tensor) -> bool:
    forward_ad = torch.autograd.forward_ad
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None


def _seed(chosen: Named, seed: Seed | None) -> int | None:
    """Return the number that the draws of this call follow from."""
    if not chosen.randomised:
        return None
    if isinstance(seed, torch.Generator):
        return int(torch.randint(2**62, (), generator=seed, device=seed.device))
    if seed is None or isinstance(seed, bool):
        msg = f"{chosen.name} draws random numbers: pass seed, an int or a torch.Generator"
        raise ValueError(msg)
    return int(seed)
