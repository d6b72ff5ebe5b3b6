"""Plan, compute and check in one call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arguments import check_integer, check_rows
from approxattn._arrays import Array
from approxattn.planning.applied import PlannedApproximation
from approxattn.planning.calls import plan as plan_heads
from approxattn.planning.record import Plan

TEXTS = 4
"""Items that a plan is made on, at most, evenly spaced. *Chosen*."""


@dataclass(kw_only=True, eq=False, repr=False)
class Auto:
    """Attention that chooses for itself: it plans at the first call, and checks at each.

    Parameters
    ----------
    relative_error, confidence, budget, exceeding, margin, candidates, order
        As in `plan`.
    audit : int
        Rows of each head that are recomputed at each call, as in `Plan.attention`.
    axes : int
        Leading axes of q, the last of them, that number heads; those before number items, which a
        plan takes for texts of their own.

    Attributes
    ----------
    plan : Plan or None
        In use; None before the first call. A check that mends a head changes it.

    Notes
    -----
    No method of the table of methods: what it computes depends on the calls before. The first call
    costs more than exact attention; later ones of the same heads and order use its plan. Rows in
    which another order holds, or heads of another number, are planned anew.

    Examples
    --------
    >>> import numpy as np, approxattn as aa
    >>> rng = np.random.default_rng(0)
    >>> q, k, v = np.cumsum(rng.normal(size=(3, 2, 1024, 16)), axis=-2) / 20
    >>> attend = aa.Auto(relative_error=0.1, order="cost")
    >>> out = attend(q, k, v, rng=rng, causal=True)
    >>> len(out.checks), out.changed, attend.plan.left_exact
    (2, (), 0)
    """

    relative_error: float
    confidence: float = 0.95
    budget: float = 60.0
    exceeding: float = 0.1
    margin: float = 1.0
    candidates: Sequence[Any] | None = None
    order: str = "time"
    audit: int = 64
    axes: int = 1
    plan: Plan | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.audit = check_rows(self.audit)
        self.axes = check_integer("axes", self.axes, 0)

    def __repr__(self) -> str:
        planned = "not planned yet" if self.plan is None else self.plan._summary()
        return f"<Auto: relative error {self.relative_error:g}, {planned}>"

    def __call__(
        self,
        q: Array,
        k: Array,
        v: Array,
        *,
        rng: np.random.Generator,
        scale: float | None = None,
        causal: bool = False,
        key_mask: Array | None = None,
        query_offset: int | None = None,
        empty_rows: str = "raise",
        certify: bool = True,
    ) -> PlannedApproximation:
        """Return attention by the plan in use, checked; parameters as in `attention`.

        Raises
        ------
        TypeError, ValueError
            What `plan` and `attention` refuse.
        """
        _arrays.namespace(q=q, k=k, v=v)
        order: dict[str, Any] = {"scale": scale, "causal": causal, "empty_rows": empty_rows}
        if not self._suits(q, causal, scale):
            texts = self._texts((q, k, v), key_mask)
            self.plan = plan_heads(
                **texts, rng=rng, query_offset=query_offset, **order, **self._asked()
            )
        assert self.plan is not None  # noqa: S101 - it was just made
        if not self.plan.heads:
            msg = f"q has shape {tuple(q.shape)}, and so no heads: there is nothing to compute"
            raise ValueError(msg)
        masks: dict[str, Any] = {"key_mask": key_mask, "query_offset": query_offset}
        out = self.plan.attention(
            q, k, v, rng=rng, audit=self.audit, certify=certify, **masks, **order
        )
        self.plan = out.plan
        return out

    def _asked(self) -> dict[str, Any]:
        """Return the keywords of `plan` that were set."""
        names = ("relative_error", "confidence", "budget", "exceeding", "margin", "candidates")
        return {name: getattr(self, name) for name in (*names, "order")}

    def _suits(self, q: Array, causal: bool, scale: float | None) -> bool:
        if self.plan is None:
            return False
        same = self.plan.shape == self._heads(q)
        return same and (self.plan.causal, self.plan.scale) == (bool(causal), scale)

    def _heads(self, q: Array) -> tuple[int, ...]:
        """Return the axes of q that number heads."""
        lead = tuple(q.shape[:-2])
        return lead[max(0, len(lead) - self.axes) :]

    def _texts(self, arrays: tuple[Array, ...], mask: Array | None) -> dict[str, Any]:
        """Return q, k, v and key_mask of some items, as lists."""
        rank = len(self._heads(arrays[0]))
        items = tuple(arrays[0].shape[: arrays[0].ndim - 2 - rank])
        total = math.prod(items)
        taken = np.unique(np.linspace(0, max(0, total - 1), min(TEXTS, max(1, total))).astype(int))
        indices = [np.unravel_index(int(i), items) if items else () for i in taken]
        names = dict(zip("qkv", arrays, strict=True))
        found: dict[str, Any] = {
            name: [_item(x, index, rank + 2) for index in indices] for name, x in names.items()
        }
        masks = [_item(mask, index, rank + 1) for index in indices]
        return found | {"key_mask": None if mask is None else masks}


def _item(x: Array | None, index: Sequence[Any], own: int) -> Array | None:
    """Return one item of an array whose last axes, `own` of them, are not those of items."""
    if x is None or x.ndim <= own:
        return x
    before = x.shape[: x.ndim - own]
    used = index[len(index) - len(before) :]
    return x[tuple(0 if n == 1 else int(i) for n, i in zip(before, used, strict=True))]
