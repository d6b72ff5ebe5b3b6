"""Plans of the whole model by `approxattn.plan`, layer by layer: made on some texts, judged on
others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import approxattn as aa
from approxattn.planning.layers import plan
from approxattn.planning.model import ModelAudit, ModelPlan
from real_model.heads import Capture
from real_model.swaps import HeadAttention, Public, exact_multiply_adds

EXACT = "Exact"
ROWS = 512
"""Rows of a head that judge a plan on another text. *Chosen*."""


def made(
    texts: Sequence[Capture], error: float, margin: float, candidates: Sequence[Any], budget: float
) -> ModelPlan:
    """Return the plans of all layers for a relative error, made on what some texts asked for."""
    return plan(
        [call for text in texts for call in text.calls],
        relative_error=error,
        margin=margin,
        candidates=list(candidates),
        budget=budget,
        rng=np.random.default_rng(0),
    )


def judged(found: ModelPlan, text: Capture) -> ModelAudit:
    """Return how the heads do on another text."""
    return found.audit(text.calls, rows=ROWS, rng=np.random.default_rng(1))


def chooser(found: ModelPlan) -> Callable[[int, int], HeadAttention]:
    """Return what says the attention of a layer and a head; heads of one method share one."""

    @functools.cache
    def shared(method: Any) -> HeadAttention:
        return Public(method)

    def choose(layer: int, head: int) -> HeadAttention:
        return shared(found[layer].heads[head].method)

    return choose


def settings(found: ModelPlan) -> dict[str, list[int]]:
    """Return the numbers of the heads of each method, layer after layer."""
    groups: dict[str, list[int]] = {}
    heads = [head for layer in found.values() for head in layer.heads]
    for number, head in enumerate(heads):
        groups.setdefault(head.name, []).append(number)
    return groups


def point(found: ModelPlan, audit: ModelAudit, n: int, width: int) -> dict[str, float]:
    """Return heads left exact, the share above the error, multiply-adds and time over exact."""
    methods = [head.method for layer in found.values() for head in layer.heads]
    counts = [Public(method).multiply_adds(n, width) for method in methods]
    return {
        "exact": sum(isinstance(method, aa.Exact) for method in methods),
        "above": audit.above,
        "cost": float(np.mean(counts)) / exact_multiply_adds(n, width),
        "time": found.relative_seconds,
    }
