"""Texts to plan on, from what a model was seen to attend to, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from approxattn.diagnosis.trials import Head


class LayerCall(Protocol):
    """One call of attention: `approxattn.torch.LayerHeads`."""

    @property
    def layer(self) -> int:
        """Its number."""
        ...

    @property
    def module(self) -> str:
        """Its name in the model."""
        ...

    @property
    def q(self) -> Any:
        """Queries, shape (B, H, n_q, d)."""
        ...

    def head(self, item: int, head: int) -> Head:
        """Return one head of one batch item."""
        ...


LISTED = ("key_mask", "query_offset", "segments")


class NoPlanError(ValueError):
    """A layer has no plan, and why."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """Arrays of all heads of one batch item, and the keywords of `attention` that go with them."""

    arrays: tuple[Any, Any, Any]
    scale: float
    masks: dict[str, Any]


def by_layer(heads: Sequence[LayerCall]) -> dict[int, list[LayerCall]]:
    """Return the calls of each layer, those of one query only where there are no others."""
    found: dict[int, list[LayerCall]] = {}
    for call in heads:
        found.setdefault(call.layer, []).append(call)
    return {
        number: [call for call in calls if call.q.shape[-2] > 1] or calls
        for number, calls in found.items()
    }


def texts_of(calls: list[LayerCall], most: int | None) -> list[Text]:
    """Return the batch items of all calls of a layer, some of them evenly spaced."""
    if len({call.module for call in calls}) > 1:
        msg = f"{calls[0].module} and {calls[-1].module} have one number: plan one of them"
        raise NoPlanError(msg)
    pairs = [(call, item) for call in calls for item in range(call.q.shape[0])]
    count = len(pairs) if most is None else min(most, len(pairs))
    chosen = np.unique(np.linspace(0, len(pairs) - 1, count).astype(int))
    texts = [_text(*pairs[int(i)]) for i in chosen]
    if len({text.masks["causal"] for text in texts}) > 1:
        msg = f"{calls[0].module} is causal on some texts only"
        raise NoPlanError(msg)
    return texts


def _text(call: LayerCall, item: int) -> Text:
    try:
        heads = [call.head(item, number) for number in range(call.q.shape[1])]
    except ValueError as reason:
        raise NoPlanError(str(reason)) from reason
    masks = dict(heads[0].masks)
    if masks.pop("window") is not None:
        msg = f"{call.module} has a window, which is for Exact() only"
        raise NoPlanError(msg)
    if not all(_alike(head, heads[0]) for head in heads):
        msg = f"{call.module} has other masks from head to head"
        raise NoPlanError(msg)
    arrays = tuple(np.stack([getattr(head, name) for head in heads]) for name in "qkv")
    return Text(arrays=(arrays[0], arrays[1], arrays[2]), scale=heads[0].scale, masks=masks)


def _alike(one: Head, other: Head) -> bool:
    """Return whether two heads have the same masks, of which some are arrays."""
    mine, others = (head.masks for head in (one, other))
    plain = all(mine[x] == others[x] for x in ("causal", "query_offset", "window"))
    same_keys = _same(mine["key_mask"], others["key_mask"])
    pairs = [head["segments"] or (None, None) for head in (mine, others)]
    return plain and same_keys and all(_same(a, b) for a, b in zip(*pairs, strict=True))


def _same(a: Any, b: Any) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))
