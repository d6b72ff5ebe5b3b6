"""One layer of a model by a plan: heads of one method in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from approxattn.planning.record import Plan
from approxattn.torch.masks import Tensor

if TYPE_CHECKING:
    from approxattn.torch.hugging_face import Layer


def by_plan(layer: Layer, plan: Plan, by_method: Callable[[Layer, Any], Tensor]) -> Tensor:
    """Return the output of all heads, shape (B, H, n_q, dv).

    Parameters
    ----------
    layer : Layer
        The call.
    plan : Plan
        Of its heads, on one axis. Those that are left exact go to torch's own attention.
    by_method : callable
        From some heads and a method to their output.

    Raises
    ------
    ValueError
        For a plan of other heads.
    """
    heads = layer.query.shape[1]
    if plan.shape != (heads,):
        msg = (
            f"{layer.label} has {heads} heads, and its plan is for {plan.shape}: make a plan from "
            "what `capture` records of this model"
        )
        raise ValueError(msg)
    groups = list(plan.groups().values())
    parts = []
    for group in groups:
        own, head = some_heads(layer, group), plan.heads[group[0]]
        exact = head.candidate is None
        parts.append(own.by_torch() if exact else by_method(own, head.method))
    if len(parts) == 1:
        return parts[0]
    order = torch.argsort(torch.tensor([head for group in groups for head in group]))
    return torch.cat(parts, dim=1).index_select(1, order.to(layer.query.device))


def some_heads(layer: Layer, heads: Sequence[int]) -> Layer:
    """Return the call for some of its heads; keys that all of their queries share stay shared."""
    total, keys = layer.query.shape[1], layer.key.shape[1]
    if len(heads) == total:
        return layer
    shared = total // keys
    places = torch.tensor(list(heads), device=layer.query.device)
    own_keys = torch.div(places, shared, rounding_mode="floor")
    request = layer.request

    def cut(x: Tensor | None, axis: int) -> Tensor | None:
        """Return a tensor for these heads where it tells heads apart, by the axis given."""
        if x is None or x.ndim < -axis or x.shape[axis] == 1:
            return x
        return x.index_select(x.ndim + axis, places)

    return replace(
        layer,
        query=layer.query.index_select(1, places),
        key=layer.key.index_select(1, own_keys),
        value=layer.value.index_select(1, own_keys),
        request=replace(
            request,
            attn_mask=cut(request.attn_mask, -3),
            key_mask=cut(request.key_mask, -2),
            sinks=None if request.sinks is None else cut(request.sinks, -1),
        ),
        name=f"{layer.label}, heads {', '.join(map(str, heads))}",
    )
