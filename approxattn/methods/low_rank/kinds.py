"""What a kind of combinations is: how it is made, what is known of its output and of its gradient,
and what it costs. The kinds themselves: `sketches.py`, `given.py`.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np

from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn.bounds.gradients import GradientBounds, no_gradient_bounds
from approxattn.certificate import SOFTMAX, Certificate
from approxattn.methods.low_rank.combinations import Combined

Facts: TypeAlias = dict[str, object]
Gradient: TypeAlias = tuple[Array, Array, Array]


class Combination(Protocol):
    """What Linformer puts in the place of keys and values."""

    @property
    def name(self) -> str:
        """What it is, as facts and reasons say it."""
        ...

    @property
    def random(self) -> bool:
        """Whether it is drawn."""
        ...

    def combine(self, problem: Problem, rng: np.random.Generator | None) -> Combined:
        """Return the combined keys and values."""
        ...

    def facts(self) -> Facts:
        """Return what certificates tell of it, the number of combinations apart."""
        ...

    def certificate(self, combined: Combined, value: Array, facts: Facts) -> Certificate:
        """Return the certificate of the output."""
        ...

    def gradient_bounds(
        self, combined: Combined, dout: Array, gradient: Gradient
    ) -> GradientBounds | None:
        """Return the bounds on dq, dk, dv; None where none are known."""
        ...

    def parameters(self, combined: Combined, dkeys: Array, dvalues: Array) -> dict[str, Array]:
        """Return the gradients with respect to the method's own arrays, by the field's name."""
        ...

    def multiply_adds(self, n_q: int, n_k: int, width: int) -> float:
        """Return what combining and attending cost, for columns of keys and values `width`."""
        ...

    def held(self, n_k: int) -> tuple[float, bool]:
        """Return the number of combinations, and whether a matrix makes them."""
        ...


def refuted(combined: Combined, facts: Facts, reason: str) -> Certificate:
    """Return no bound: Theorem 2 of Wang et al. is false."""
    return no_bound(combined.original, facts, reason)


def no_bound(problem: Problem, facts: Facts, reason: str) -> Certificate:
    """Return that for a problem."""
    return Certificate(
        rows=np.full((*problem.batch, problem.n_q), np.inf),
        target=SOFTMAX,
        theorem="linformer.theorem-2",
        facts=facts,
        unmet=(reason,),
    )


def bounds_or_none(
    combination: Combination, combined: Combined, dout: Array, gradient: Gradient
) -> tuple[GradientBounds, tuple[str, ...]]:
    """Return the bounds on the gradient; inf and the reason where none are known."""
    bounds = combination.gradient_bounds(combined, dout, gradient)
    if bounds is not None:
        return bounds, ()
    reason = f"no bound is known for the gradient of {combination.name}"
    return no_gradient_bounds(combined.original), (reason,)
