"""Plans of the whole model by `approxattn.plan`, layer by layer: made on some texts, judged on
others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import approxattn as aa
from approxattn.planning.model import ModelPlan
from real_model.heads import Call, Capture
from real_model.network import Array
from real_model.swaps import HeadAttention, Public, exact_multiply_adds

EXACT = "Exact"


class Wanted(NamedTuple):
    """A plan of the whole model: the texts that it is made on, its error, its margin, and the share
    of blocks that may have a larger error.
    """

    texts: tuple[str, ...]
    error: float
    margin: float = 1.0
    exceeding: float = 0.1

    @property
    def name(self) -> str:
        """What stands in the tables, without the margin."""
        more = f", exceeding {self.exceeding:g}" if self.exceeding != 0.1 else ""
        return f"aa.plan, error {self.error:g}{more}"

    def path(self, folder: Path) -> Path:
        """Return the file that the plan is kept in."""
        numbers = "-".join(f"{x:g}" for x in self[1:])
        return folder / f"{'-'.join(self.texts)}-{numbers}.json"

    def kept(self, folder: Path) -> ModelPlan:
        """Return the layers that are planned already."""
        path = self.path(folder)
        return ModelPlan.load(path) if path.exists() else ModelPlan(layers={})


def made(
    wanted: Sequence[Wanted],
    capture: Callable[[str], Capture],
    candidates: Sequence[Any],
    budget: float,
    folder: Path,
    in_time: Callable[[], bool],
) -> None:
    """Make plans together, layer by layer, so that each text is measured once, and keep them.

    Parameters
    ----------
    wanted, candidates
        Plans, and what they choose from.
    capture : callable
        Queries, keys and values of a text.
    budget : float
        Seconds for one plan of the model; each layer may take its share.
    folder : Path
        Of the plans; layers that are there are not planned again.
    in_time : callable
        Whether to go on with a further layer.
    """
    calls = {name: capture(name).calls for plan in wanted for name in plan.texts}
    layers = min(map(len, calls.values()), default=0)
    timings: dict[Any, Any] = {}
    for layer in range(layers):
        if not in_time():
            return
        given = {name: _heads(text[layer]) for name, text in calls.items()}
        measured: dict[str, dict[int, Any]] = {name: {} for name in calls}
        for plan in wanted:
            before = plan.kept(folder)
            if layer not in before:
                options = {"candidates": list(candidates), "budget": budget / layers}
                found = of_layer(plan, layer, given, measured, timings=timings, **options)
                folder.mkdir(parents=True, exist_ok=True)
                ModelPlan(layers={**before.layers, layer: found}).save(plan.path(folder))
                print(f"layer {layer}, {plan}: {found!r}", flush=True)


def of_layer(
    plan: Wanted,
    layer: int,
    given: Mapping[str, tuple[Array, Array, Array]],
    measured: Mapping[str, dict[int, Any]],
    **options: Any,
) -> aa.Plan:
    """Return the plan of one layer, from what each text gives it."""
    return aa.plan(
        *map(list, zip(*(given[name] for name in plan.texts), strict=True)),
        relative_error=plan.error,
        margin=plan.margin,
        exceeding=plan.exceeding,
        causal=True,
        order="processor",
        measured=[measured[name] for name in plan.texts],
        rng=np.random.default_rng(layer),
        **options,
    )


def _heads(call: Call) -> tuple[Array, Array, Array]:
    """Return queries of a layer, and keys and values for each of its heads, in float32."""
    q, k, v = (np.asarray(x[0], np.float32) for x in (call.q, call.k, call.v))
    group = len(q) // len(k)
    return q, np.repeat(k, group, axis=0), np.repeat(v, group, axis=0)


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


def point(alone: Sequence[ModelPlan], together: ModelPlan, n: int, width: int) -> dict[str, float]:
    """Return heads left exact, multiply-adds and time over exact attention, means over plans from
    one text each; and the share of heads above the error on the text that such a plan has not
    seen, from the plan of all texts, which leaves out each in turn.
    """
    methods = [h.method for found in alone for layer in found.values() for h in layer.heads]
    counts = [Public(method).multiply_adds(n, width) for method in methods]
    left_out = [layer.transfer for layer in together.values() if layer.transfer]
    weights = [transfer.heads for transfer in left_out]
    return {
        "exact": float(np.mean([found.left_exact for found in alone])),
        "above": float(np.average([transfer.above for transfer in left_out], weights=weights)),
        "cost": float(np.mean(counts)) / exact_multiply_adds(n, width),
        "time": float(np.mean([found.relative_seconds for found in alone])),
    }
