"""`plan` for all layers of a model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from approxattn._arguments import check_integer, check_positive
from approxattn.planning.calls import plan as plan_heads
from approxattn.planning.captured import LISTED, LayerCall, NoPlanError, by_layer, texts_of
from approxattn.planning.model import ModelPlan
from approxattn.planning.record import Plan

FIRST = 1 / 4
"""Share of the budget that the first layer may take, at least: it times candidates for all of the
same sizes. *Chosen*.
"""


def plan(
    heads: Sequence[LayerCall],
    *,
    relative_error: float,
    rng: np.random.Generator,
    budget: float = 60.0,
    items: int = 4,
    **options: Any,
) -> ModelPlan:
    """Choose a method for each head of each layer, from what a model was seen to attend to.

    Parameters
    ----------
    heads : Heads
        From `capture`. Every batch item of every call of a layer is a text; calls of a single
        query, as in decoding, are left out where there are others.
    relative_error, rng
        As in `approxattn.plan`.
    budget : float
        Seconds for all layers together; what one does not use is there for the next.
    items : int
        Texts for each layer, at most, evenly spaced among those there are.
    options
        Others of `approxattn.plan`: confidence, exceeding, margin, candidates, order, block,
        blocks.

    Returns
    -------
    ModelPlan
        For `register(name, found)` and `fidelity(model, inputs, found)`.

    Raises
    ------
    TypeError, ValueError
        No heads, and what `approxattn.plan` refuses.

    Examples
    --------
    With heads from `capture`::

        found = plan(heads, relative_error=0.1, rng=numpy.random.default_rng(0))
        print(found)
        register("planned", found)
        model.set_attn_implementation("planned")
    """
    start, budget = time.monotonic(), check_positive("budget", budget)
    items = check_integer("items", items, 1)
    if not len(heads):
        msg = "heads is empty: run the model inside `with capture(model) as heads`"
        raise ValueError(msg)
    layers: dict[int, Plan] = {}
    left_out: dict[int, str] = {}
    timings: dict[Any, Any] = {}
    calls_of = by_layer(heads)
    for done, (number, calls) in enumerate(calls_of.items()):
        rest = max(1e-9, start + budget - time.monotonic())
        share = 1 / (len(calls_of) - done)
        try:
            texts = texts_of(calls, items)
        except NoPlanError as reason:
            left_out[number] = str(reason)
            continue
        q, k, v = (list(x) for x in zip(*(text.arrays for text in texts), strict=True))
        own: dict[str, Any] = {n: [text.masks[n] for text in texts] for n in LISTED}
        layers[number] = plan_heads(
            q,
            k,
            v,
            relative_error=relative_error,
            rng=rng,
            budget=rest * (share if timings else max(share, FIRST)),
            scale=texts[0].scale,
            causal=texts[0].masks["causal"],
            empty_rows="zero",
            timings=timings,
            **own,
            **options,
        )
    return ModelPlan(layers=layers, left_out=left_out)
