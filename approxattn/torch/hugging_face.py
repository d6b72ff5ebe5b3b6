"""Attention of Hugging Face models by a method: `register`, then `model.set_attn_implementation`.

Two things are registered, the attention and its mask. Without the second transformers would hand
over no mask at all, and padded batches would be wrong without a word.

What stands for a mask between the two:

- (B, 1, n_k): causal order aligned at the bottom right, with these keys. No n x n mask is made.
- (B, 1, 1, n_k): these keys for every query.
- (B, 1, n_q, n_k): everything else (windows, packed sequences, static caches), read by
  `approxattn.torch.masks`.
- (B, n_k), from models that make no use of the interface: keys, and causal as the layer says.
- None: causal as the layer says, aligned as transformers' own "sdpa" does it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from approxattn._arguments import check_choice, check_flag
from approxattn.methods.protocol import Method
from approxattn.planning.record import Plan
from approxattn.torch.attention import (
    GRADIENTS,
    UNSUPPORTED,
    Seed,
    scaled_dot_product_attention,
)
from approxattn.torch.by_heads import by_plan
from approxattn.torch.masks import Tensor
from approxattn.torch.names import named
from approxattn.torch.ops import Request, by_torch, mask_of

OfLayer = Method | str | Plan
Methods = OfLayer | Mapping[int, OfLayer]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What one registered name stands for."""

    methods: Any
    seed: Seed | None
    unsupported: str
    gradient: str
    certify: bool = True

    def of(self, layer: int) -> Any:
        """Return the method of a layer; None for torch's exact attention."""
        return self.methods.get(layer) if isinstance(self.methods, Mapping) else self.methods

    def seed_of(self, layer: int) -> Seed | None:
        """Return a seed of the layer's own, the same at every call."""
        if self.seed is None or isinstance(self.seed, torch.Generator):
            return self.seed
        return (self.seed + 0x9E3779B97F4A7C15 * (layer + 1)) % 2**62


def register(
    name: str,
    method: Methods,
    *,
    seed: Seed | None = None,
    unsupported: str = "raise",
    gradient: str = "output",
    certify: bool = True,
) -> str:
    """Give transformers an attention implementation.

    Parameters
    ----------
    name : str
        For `model.set_attn_implementation(name)`, or `from_pretrained(attn_implementation=name)`.
    method : Method, str, Plan, or mapping of int to these
        One for all layers; or one for each layer number, as what `plan` returns, and torch's exact
        attention in the layers that the mapping does not hold. A `Plan` has a method for each head
        of a layer, numbered on one axis; heads that it leaves exact go to torch's attention.
    seed : int or torch.Generator, optional
        Needed by randomised methods: from an int every layer gets draws of its own, the same at
        each call; a generator gives new ones at each call.
    unsupported : {"raise", "exact"}
        What happens in a layer where the method cannot: an error with the reason, or torch's exact
        attention in that layer with an `ExactFallbackWarning`, as `record_calls` also shows.
    gradient : {"output", "method"}
        As in `scaled_dot_product_attention`.
    certify : bool
        False: values without bounds, for speed. `record_calls` then has certificates that claim
        nothing.

    Returns
    -------
    str
        `name`.

    Raises
    ------
    TypeError, ValueError
        No method, a randomised method without a seed, other words for the choices.

    Examples
    --------
    >>> from approxattn.torch import register
    >>> register("taylor", "Polynomial(degree=4, basis='taylor')")
    'taylor'
    >>> register("some layers", {0: "Exact()", 3: "Clustered(heavy=32)"})
    'some layers'
    """
    check_choice("unsupported", unsupported, UNSUPPORTED)
    check_choice("gradient", gradient, GRADIENTS)
    chosen = method.values() if isinstance(method, Mapping) else [method]
    for each in map(named, _methods_of(chosen)):
        if each.randomised and seed is None:
            msg = f"{each.name} draws random numbers: pass seed, an int or a torch.Generator"
            raise ValueError(msg)
    check_flag("certify", certify)
    choice = Choice(
        methods=method, seed=seed, unsupported=unsupported, gradient=gradient, certify=certify
    )
    register_function(name, functools.partial(attention_forward, choice=choice))
    return name


def _methods_of(chosen: Iterable[OfLayer]) -> Iterator[Method | str]:
    """Yield the methods, those of plans head by head."""
    for each in chosen:
        if isinstance(each, Plan):
            yield from (head.method for head in each.heads)
        else:
            yield each


def register_function(name: str, forward: Any) -> None:
    """Register an attention function together with the mask that goes with it."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(name, forward)
    AttentionMaskInterface.register(name, mask_for_methods)


def mask_for_methods(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Any = None,
    attention_mask: Tensor | None = None,
    **rest: Any,
) -> Tensor:
    """Return the smallest mask that says what a pattern of transformers says."""
    from transformers import masking_utils as theirs

    causal = mask_function is None or mask_function is theirs.causal_mask_function
    at_end = not isinstance(q_offset, torch.Tensor) and (
        q_offset + q_length == kv_offset + kv_length
    )
    if (causal and at_end) or mask_function is theirs.bidirectional_mask_function:
        keys = _keys(attention_mask, kv_length, kv_offset, rest.get("device", "cpu"))
        return keys[:, None, :] if causal else keys[:, None, None, :]
    options = {**rest, "allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    pattern = theirs.causal_mask_function if mask_function is None else mask_function
    return theirs.sdpa_mask(
        batch_size, q_length, kv_length, q_offset, kv_offset, pattern, attention_mask, **options
    )


def _keys(given: Tensor | None, n_k: int, offset: int, device: Any) -> Tensor:
    """Return the keys that take part, shape (B, n_k); B = 1 where all do."""
    if given is None:
        return torch.ones(1, n_k, dtype=torch.bool, device=device)
    keys = given[:, offset : offset + n_k].bool()
    return torch.nn.functional.pad(keys, (0, n_k - keys.shape[-1]))


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One call of attention in a model, after rotary embedding.

    Attributes
    ----------
    number : int
        Number of the layer.
    query, key, value : tensor, shapes (B, H, n_q, d), (B, H_k, n_k, d), (B, H_k, n_k, dv)
        The heads.
    request : Request
        Masks and scale.
    dropout : float
        Probability of dropping a weight.
    name : str
        Name in messages, where the number is not enough.
    """

    number: int
    query: Tensor
    key: Tensor
    value: Tensor
    request: Request
    dropout: float
    name: str = ""

    @property
    def label(self) -> str:
        """Name in messages."""
        return self.name or f"layer {self.number}"

    def by_torch(self) -> Tensor:
        """Return torch's exact attention, shape (B, H, n_q, dv)."""
        return by_torch(self.query, self.key, self.value, self.request, self.dropout)


def layer_of(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **rest: Any,
) -> Layer:
    """Return what transformers hands over as one record.

    `softcap` and `s_aux` are what transformers calls soft caps and sinks.
    """
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    request = _request(attention_mask, bool(causal), query, key, scaling)
    if request.attn_mask is None and request.key_mask is None and request.causal:
        key, value = key[:, :, : query.shape[2]], value[:, :, : query.shape[2]]
        position_bias = None if position_bias is None else position_bias[..., : query.shape[2]]
    if position_bias is not None:
        mask = _with_bias(mask_of(request, query, key), position_bias)
        request = Request(attn_mask=mask, scale=scaling)
    request = replace(request, softcap=rest.get("softcap"), sinks=rest.get("s_aux"))
    return Layer(
        number=int(getattr(module, "layer_idx", None) or 0),
        query=query,
        key=key,
        value=value,
        request=request,
        dropout=dropout,
    )


def _request(
    mask: Tensor | None, causal: bool, query: Tensor, key: Tensor, scaling: float | None
) -> Request:
    n_q, n_k = query.shape[2], key.shape[2]
    if mask is None:  # as "sdpa": upper left, of several queries
        return Request(causal=causal and n_q > 1, scale=scaling)
    if mask.ndim == 2:
        if mask.is_floating_point() and bool((mask < 0).any()):
            msg = "a 2-D attention_mask holds numbers below 0: it must be 1 for keys that take part"
            raise ValueError(msg)
        mask = mask.bool()[:, None, :] if causal else mask.bool()[:, None, None, :]
    if mask.ndim == 3 and (mask.shape[1] != 1 or mask.is_floating_point()):
        mask = mask[:, None]  # one for each item, shared by the heads
    if mask.ndim == 3:
        return Request(key_mask=mask.bool(), causal=True, query_offset=n_k - n_q, scale=scaling)
    if mask.shape[-2] == 1 and mask.dtype is torch.bool:
        return Request(key_mask=mask[..., 0, :], scale=scaling)
    return Request(attn_mask=mask, scale=scaling)


def _with_bias(mask: Tensor | None, bias: Tensor) -> Tensor:
    """Return a position bias with the hidden pairs at -inf."""
    if mask is None:
        return bias
    if mask.dtype is torch.bool:
        return torch.where(mask, bias, -torch.inf)
    return bias + mask


def attention_forward(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Compute one layer for transformers: output, shape (B, n_q, H, dv), and no weights."""
    choice: Choice = rest.pop("choice")
    layer = layer_of(module, query, key, value, attention_mask, **rest)
    method = choice.of(layer.number)
    if method is None:
        out = layer.by_torch()
    elif isinstance(method, Plan):
        out = by_plan(layer, method, functools.partial(_by_method, choice=choice))
    else:
        out = _by_method(layer, method, choice)
    return out.transpose(1, 2).contiguous(), None


def _by_method(layer: Layer, method: Any, choice: Choice) -> Tensor:
    given = layer.request
    return scaled_dot_product_attention(
        layer.query,
        layer.key,
        layer.value,
        given.attn_mask,
        layer.dropout,
        given.causal,
        given.scale,
        enable_gqa=True,
        method=method,
        seed=choice.seed_of(layer.number),
        key_mask=given.key_mask,
        query_offset=given.query_offset,
        softcap=given.softcap,
        sinks=given.sinks,
        unsupported=choice.unsupported,
        gradient=choice.gradient,
        certify=choice.certify,
        label=layer.label,
    )
