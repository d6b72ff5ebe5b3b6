"""The rule of `torch.vmap` for the two operators: one call for each item.

A batch in one call would be faster, and is what leading axes are for. But some methods choose a
polynomial for the whole call, and `vmap` promises what a loop returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def mapped(operator: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """Return the rule for an operator that returns a tuple of tensors."""

    def rule(info: Any, dims: tuple[int | None, ...], *given: Any) -> tuple[Any, Any]:
        def item(i: int) -> list[Any]:
            pairs = zip(given, dims, strict=True)
            return [x if dim is None else x.select(dim, i) for x, dim in pairs]

        outputs = [operator(*item(i)) for i in range(info.batch_size)]
        stacked = tuple(torch.stack(column) for column in zip(*outputs, strict=True))
        return stacked, (0,) * len(stacked)

    return rule
