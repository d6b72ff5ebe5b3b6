"""Combinations that the user gives: projections E and F, or the kernel of a convolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from approxattn import _arrays
from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn.bounds.gradients import GradientBounds
from approxattn.certificate import Certificate
from approxattn.methods.low_rank.combinations import Combined, convolved, projected
from approxattn.methods.low_rank.kinds import Facts, Gradient, refuted


class _Given:
    """Combinations that can be anything: no theorem bounds their errors."""

    field: str
    random = False

    @property
    def name(self) -> str:
        """The field that was given."""
        return f"given {self.field}"

    def facts(self) -> Facts:
        """Return what was given."""
        return {"sketch": self.name}

    def certificate(self, combined: Combined, value: Array, facts: Facts) -> Certificate:
        """Return no bound, and why."""
        del value
        reason = (
            "the theorem is refuted, and no other bounds combinations that can be anything; "
            "`audit` measures the error"
        )
        return refuted(combined, facts, reason)

    def gradient_bounds(
        self, combined: Combined, dout: Array, gradient: Gradient
    ) -> GradientBounds | None:
        """Return None."""
        del combined, dout, gradient
        return None


@dataclass(frozen=True, kw_only=True)
class Projections(_Given):
    """E and F, shapes (k, n_k) or (..., k, n_k); F = E if only E is given."""

    e: Array
    f: Array | None
    field = "key_projection"

    def combine(self, problem: Problem, rng: np.random.Generator | None) -> Combined:
        """Return E K and F V."""
        del rng
        return projected(problem, self.e, self.f)

    def parameters(self, combined: Combined, dkeys: Array, dvalues: Array) -> dict[str, Array]:
        """Return dE and dF, their sum where F = E."""
        problem = combined.original
        de = combined.keys.gradient(dkeys, problem.k)
        df = combined.values.gradient(dvalues, problem.v)
        if self.f is None:
            gradients = {"key_projection": de + df}
        else:
            gradients = {"key_projection": de, "value_projection": df}
        return {
            name: _arrays.cast(x, problem.out_dtype, problem.xp) for name, x in gradients.items()
        }

    def multiply_adds(self, n_q: int, n_k: int, width: int) -> float:
        """Return k multiply-adds a query and column, and k a key and column."""
        return int(self.e.shape[-2]) * (n_q + n_k) * width

    def held(self, n_k: int) -> tuple[float, bool]:
        """Return k: the matrices are the caller's."""
        del n_k
        return int(self.e.shape[-2]), False


@dataclass(frozen=True, kw_only=True)
class Kernel(_Given):
    """The weights of a convolution whose stride is its length."""

    weights: tuple[float, ...]
    field = "kernel"

    def combine(self, problem: Problem, rng: np.random.Generator | None) -> Combined:
        """Return the weighted sums of blocks."""
        del rng
        return convolved(problem, self.weights)

    def parameters(self, combined: Combined, dkeys: Array, dvalues: Array) -> dict[str, Array]:
        """Return the gradient with respect to the weights."""
        problem, slope = combined.original, combined.keys.gradient
        total = slope(dkeys, problem.k) + slope(dvalues, problem.v)
        return {"kernel": _arrays.from_host(total.astype(problem.dtype), problem.q)}

    def multiply_adds(self, n_q: int, n_k: int, width: int) -> float:
        """Return one multiply-add a block for a query and column, and one a key and column."""
        return (n_q * n_k / len(self.weights) + n_k) * width

    def held(self, n_k: int) -> tuple[float, bool]:
        """Return the number of blocks."""
        return n_k / len(self.weights), False
