"""Which method suits which layer of a model: every head tried, within a stated time."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from approxattn._arguments import check_fraction, check_positive, check_rows
from approxattn.diagnosis.trials import HEADER, LayerReport, Trials
from approxattn.methods.protocol import described
from approxattn.torch.capture import Heads, LayerHeads


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found in a model; `print` it for a table.

    Attributes
    ----------
    layers : tuple of LayerReport
        One for each layer captured.
    cost : float
        Multiply-adds that the methods were allowed, over those of exact attention.
    tolerance : float
        Median relative error up to which a method is recommended.
    seconds : float
        Time spent.
    """

    layers: tuple[LayerReport, ...]
    cost: float
    tolerance: float
    seconds: float

    @property
    def recommended(self) -> dict[int, Any]:
        """Layer -> method, for `register` and `fidelity`; layers missing here stay exact.

        Where several calls have one number (encoder and decoder), the worst of them decides.
        """
        found: dict[int, Any] = {}
        barred = set()
        for x in self.layers:
            good = bool(x.best) and x.error <= self.tolerance
            if not good or found.setdefault(x.layer, x.methods[x.best]) != x.methods[x.best]:
                barred.add(x.layer)
        return {layer: method for layer, method in found.items() if layer not in barred}

    def __str__(self) -> str:
        kept = self.recommended
        chosen = ", ".join(f"{layer}: {described(method)}" for layer, method in kept.items())
        missed = sum(x.heads - x.seen for x in self.layers if not x.refused)
        lines = [
            (
                f"Relative errors at up to {self.cost:g} of the cost of exact attention, median "
                f"over heads; {self.seconds:.3g} s"
            ),
            HEADER,
            *map(str, self.layers),
            *([f"{missed} heads were not looked at: the time was up"] if missed else []),
            *textwrap.wrap(
                f"Within {self.tolerance:g}: {chosen}; exact attention in the others"
                if kept
                else f"No layer has a method within {self.tolerance:g}: keep exact attention",
                width=100,
                subsequent_indent="  ",
                break_on_hyphens=False,
            ),
        ]
        return "\n".join(lines)


def report(
    heads: Heads,
    *,
    budget: float = 60.0,
    cost: float = 0.25,
    tolerance: float = 0.1,
    item: int = 0,
    rows: int = 64,
    seed: int = 0,
) -> Report:
    """Try every method on every head captured, and say which layer could do with which.

    Every layer gets one head before any gets a second one, so a short time leaves no layer out
    unless one round takes longer.

    Parameters
    ----------
    heads : Heads
        From `capture`.
    budget : float
        Seconds to spend; the method that runs then is the last.
    cost : float
        Multiply-adds that a method may take, over those of exact attention.
    tolerance : float
        Median relative error (Frobenius norm) up to which a method is recommended.
    item : int
        The batch item looked at, its padding cut off.
    rows : int
        Rows of each head that are recomputed exactly.
    seed : int
        Draws of random methods follow from it.

    Returns
    -------
    Report
        A table as `str`, and `recommended` for `register`.

    Raises
    ------
    TypeError, ValueError
        Numbers out of range, no heads.

    Examples
    --------
    With heads from `capture`::

        found = report(heads, budget=120)
        print(found)
        register("mixed", found.recommended)
        model.set_attn_implementation("mixed")
    """
    budget = check_positive("budget", budget)
    cost, tolerance = check_fraction("cost", cost), check_fraction("tolerance", tolerance)
    rows = check_rows(rows)
    if not len(heads):
        msg = "heads is empty: run the model inside `with capture(model) as heads`"
        raise ValueError(msg)
    start = time.monotonic()
    trials = [Trials(layer.q.shape[1]) for layer in heads]
    for place, number in _rounds(heads):
        if time.monotonic() - start > budget:
            break
        rng = np.random.default_rng((seed, place, number))
        _try(trials[place], heads[place], item, number, (cost, rows, rng, start + budget))
    reports = tuple(
        trial.report(layer.layer, layer.module) for trial, layer in zip(trials, heads, strict=True)
    )
    spent = time.monotonic() - start
    return Report(layers=reports, cost=cost, tolerance=tolerance, seconds=spent)


def _try(trials: Trials, layer: LayerHeads, item: int, number: int, rest: Any) -> None:
    """Add one head to what was found in its layer, unless no method has a form for it."""
    if trials.refused:
        return
    try:
        head = layer.head(item, number)
    except ValueError as reason:
        trials.refused = str(reason)
        return
    trials.add(head, *rest)


def _rounds(heads: Heads) -> Iterator[tuple[int, int]]:
    """Yield places and head numbers: one head of each layer, then another of each."""
    most = max(layer.q.shape[1] for layer in heads)
    for number in range(most):
        for place, layer in enumerate(heads):
            if number < layer.q.shape[1]:
                yield place, number
