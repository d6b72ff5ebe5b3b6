"""Methods at equal cost a token: the largest setting of each that a budget allows.

What a method costs it says itself: `Priced.cost`, multiply-adds forward. Exact attention costs
n_q n_k (d + dv). A budget is a fraction of that. Times differ by a constant
factor in either direction. The crossover is the number of tokens n = n_q = n_k at which a method,
its settings unchanged, costs as much as exact attention.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import numpy as np

from approxattn._problem import Problem, pose
from approxattn.methods import all_methods
from approxattn.methods.exact import Exact
from approxattn.methods.protocol import Method, Priced, Sizes


def relative_cost(method: Priced, problem: Problem) -> float:
    """Return the multiply-adds over those of exact attention, on a problem of this size."""
    sizes = problem.n_q, problem.n_k, problem.d, problem.dv
    return method.cost(*sizes).multiply_adds / Exact().cost(*sizes).multiply_adds


def crossover(method: Priced, problem: Problem) -> float:
    """Return the number of tokens, by doubling and bisection."""

    def dearer(n: int) -> bool:
        sizes = n, n, problem.d, problem.dv
        return method.cost(*sizes).multiply_adds > Exact().cost(*sizes).multiply_adds

    low, high = 0, 1
    while dearer(high) and high < 2**200:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if dearer(middle) else (low, middle)
    return float(high)


def candidates(problem: Problem, budget: float, names: Container[str] | None = None) -> list[Any]:
    """Return each priced method, of these names if any are given, with the largest setting within
    the budget.
    """
    kinds = [kind for kind in all_methods() if names is None or kind.__name__ in names]
    return [m for kind in kinds for m in settings_within(kind, problem, budget)]


def priced_names() -> tuple[str, ...]:
    """Return the names of the methods that have a price, which a budget can choose."""
    kinds = [kind for kind in all_methods() if issubclass(kind, Priced)]
    return tuple(sorted(kind.__name__ for kind in kinds if kind.sizes()))


def settings_within(kind: type[Any], problem: Problem, budget: float) -> list[Any]:
    """Return the largest settings of one class of methods that the budget allows, one for each of
    its `sizes`; none if it has no price.
    """
    if not issubclass(kind, Priced):
        return []
    found = [_largest_within(sizes, problem, budget) for sizes in kind.sizes()]
    return [method for method in found if method is not None]


def settings_for(kind: type[Any], n: int, width: int, budget: float) -> list[Any]:
    """Return the same for n tokens whose queries, keys and values all have one width."""
    token = np.zeros((n, width))
    return settings_within(kind, pose(token, token, token), budget)


def _largest_within(sizes: Sizes, problem: Problem, budget: float) -> Method | None:
    def affordable(number: int) -> bool:
        try:
            method: Any = sizes.make(number)
        except (ValueError, MemoryError):
            return False  # beyond what the method takes
        return relative_cost(method, problem) <= budget

    number = _largest(affordable, sizes.step)
    return sizes.make(number) if number else None


def _largest(allowed: Callable[[int], bool], step: int) -> int:
    """Return the largest multiple of `step` that is allowed, 0 if none: allowed numbers are those
    up to some point.
    """
    if not allowed(step):
        return 0
    low, high = 1, 2
    while allowed(high * step):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if allowed(middle * step) else (low, middle)
    return low * step
