"""Refuse a call that would hold more memory than its caller allows, before any work starts."""

from __future__ import annotations

import math
import numbers
from typing import Any

from approxattn import _arrays
from approxattn._problem import Problem
from approxattn.methods.costs import Costed

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def check_max_memory(
    max_memory: float | None, method: Any, problem: Problem, *, gradient: bool = False
) -> None:
    """Raise MemoryError where the estimate of `method.cost` exceeds `max_memory` bytes; None is no
    limit.

    Raises
    ------
    TypeError
        If `max_memory` is no number, or the method does not say what it holds.
    ValueError
        If it is not positive, or the data decide what the method holds.
    MemoryError
        Where the call would hold more.
    """
    if max_memory is None:
        return
    if isinstance(max_memory, bool) or not isinstance(max_memory, numbers.Real):
        msg = f"max_memory(={max_memory!r}) must be a number of bytes, or None for no limit"
        raise TypeError(msg)
    if not max_memory > 0:
        msg = f"max_memory(={max_memory}) must be a positive number of bytes, or None for no limit"
        raise ValueError(msg)
    name = type(method).__name__
    if not hasattr(method, "cost"):
        msg = f"max_memory with {name}, which has no cost(): leave max_memory=None"
        raise TypeError(msg)
    items = math.prod(problem.batch)
    needed = method.cost(
        problem.n_q,
        problem.n_k,
        problem.d,
        problem.dv,
        items=items,
        dtype=problem.dtype,
        gradient=gradient,
        **({"in_place": _in_place(problem)} if isinstance(method, Costed) else {}),
    ).bytes
    if needed > max_memory:
        fewer = "fewer leading indices or queries in one call" if items > 1 else "fewer queries"
        msg = (
            f"max_memory(={in_units(max_memory)}): {name} would hold about {in_units(needed)} "
            f"beside its input; pass {fewer}, a method or setting that holds less (cost() of each "
            "says how much), or a larger max_memory"
        )
        raise MemoryError(msg)


def _in_place(problem: Problem) -> bool:
    """Return whether `Exact` works in place: see `approxattn.softmax.streaming.attend`."""
    seen = problem.visibility
    others = (
        problem.band,
        problem.bias,
        problem.softcap,
        problem.sinks,
        None if seen is None else seen.window,
    )
    plain = all(x is None for x in others) and not problem.wants_lse
    return plain and _arrays.on_host(problem.q, problem.k, problem.v)


def in_units(count: float) -> str:
    """Return a number of bytes in the unit that leaves at most four digits."""
    power = min(int(math.log(max(count, 1), 1024)), len(_UNITS) - 1)
    return f"{count / 1024**power:.3g} {_UNITS[power]}"
