"""The sketches of Linformer by name: random combinations, sampled keys, pooled blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from approxattn._arguments import check_memory
from approxattn._arrays import Array
from approxattn._problem import Problem
from approxattn._problem.time_needed import NORMAL, PRODUCT, SCORE, check_setting
from approxattn.bounds.gradients import GradientBounds
from approxattn.bounds.values import range_bound
from approxattn.certificate import SOFTMAX, Certificate
from approxattn.methods.low_rank.combinations import (
    DRAWS,
    Combined,
    max_pooled,
    mean_pooled,
    randomly_combined,
    row_sampled,
)
from approxattn.methods.low_rank.kinds import Facts, Gradient, refuted
from approxattn.methods.low_rank.pooling_bounds import pooling_bound, pooling_gradient_bound
from approxattn.methods.low_rank.row_sample_bound import row_sample_certificate

REFUTED = (
    "the theorem is refuted (queries 0, values 1: exact attention is 1, the sketch returns noise "
    "of mean 0)"
)
NO_THEOREM = (
    "no theorem speaks about largest entries: the bound is what the range of v alone implies"
)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of sketch.

    Attributes
    ----------
    make : callable
        From problem, sketch and generator to the combinations.
    random : bool
        Whether `make` needs the generator.
    certificate : callable
        From combinations, output, sketch and facts to the certificate.
    gradient_bounds : callable or None
        From combinations, cotangent and gradient to the bounds, where they are known.
    work : callable
        From rank and number of keys to the multiply-adds that one key takes, in each column.
    dense : bool
        Whether a matrix of rank x n_k numbers is held.
    """

    make: Callable[[Problem, Sketch, Any], Combined]
    certificate: Callable[[Combined, Array, Sketch, Facts], Certificate]
    work: Callable[[int, float], float]
    random: bool = True
    gradient_bounds: Callable[[Combined, Array, Gradient], GradientBounds] | None = None
    dense: bool = False


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """Combinations by a rule; the fields are those of `Linformer`."""

    kind: str
    rank: int
    delta: float | None
    confidence: float

    @property
    def name(self) -> str:
        """The argument that asks for it."""
        return f"sketch={self.kind!r}"

    @property
    def random(self) -> bool:
        """Whether it is drawn: pooling is not."""
        return SKETCHES[self.kind].random

    def combine(self, problem: Problem, rng: np.random.Generator | None) -> Combined:
        """Return the combined keys and values.

        Raises
        ------
        MemoryError, ValueError
            Where they cannot fit into this machine, or would take minutes.
        """
        kind = SKETCHES[self.kind]
        rank = self.rank if kind.random else min(self.rank, problem.n_k)
        numbers = rank * math.prod(problem.batch) * (problem.d + problem.dv)
        numbers += rank * problem.n_k if kind.dense else 0
        check_memory("rank", self.rank, numbers, "combined keys and values")
        items, width = math.prod(problem.batch), problem.d + problem.dv
        each = items * problem.n_q * (SCORE + width * PRODUCT)
        if kind.dense:
            each += problem.n_k * (NORMAL + items * width * PRODUCT)
        check_setting(problem, "rank", self.rank, rank * each, "combined keys and values")
        assert rng is not None or not kind.random  # noqa: S101 - `attention` asks for it
        return kind.make(problem, self, rng)

    def facts(self) -> Facts:
        """Return kind and delta."""
        return {"sketch": self.kind} | ({} if self.delta is None else {"delta": self.delta})

    def certificate(self, combined: Combined, value: Array, facts: Facts) -> Certificate:
        """Return the certificate of the output."""
        return SKETCHES[self.kind].certificate(combined, value, self, facts)

    def gradient_bounds(
        self, combined: Combined, dout: Array, gradient: Gradient
    ) -> GradientBounds | None:
        """Return the bounds on dq, dk, dv; None where none are known."""
        find = SKETCHES[self.kind].gradient_bounds
        return None if find is None else find(combined, dout, gradient)

    def parameters(self, combined: Combined, dkeys: Array, dvalues: Array) -> dict[str, Array]:
        """Return nothing: a sketch is not trained."""
        del combined, dkeys, dvalues
        return {}

    def multiply_adds(self, n_q: int, n_k: int, width: int) -> float:
        """Return `rank` multiply-adds a query and column, and those of the kind for each key."""
        work, rank = SKETCHES[self.kind].work, self.rank
        return (n_q * rank + n_k * work(rank, n_k)) * width

    def held(self, n_k: int) -> tuple[float, bool]:
        """Return the rank, and whether a matrix of random numbers is held."""
        del n_k
        return self.rank, SKETCHES[self.kind].dense


def _random(name: str) -> Kind:
    return Kind(
        make=lambda problem, sketch, rng: randomly_combined(
            problem, name, sketch.rank, sketch.delta, rng
        ),
        certificate=lambda combined, _value, _sketch, facts: refuted(combined, facts, REFUTED),
        work={"count-sketch": lambda _k, _n: 1.0, "srht": lambda _k, n: math.log2(max(2.0, n))}.get(
            name, lambda k, _n: float(k)
        ),
        dense=name not in ("count-sketch", "srht"),
    )


def _of_means(combined: Combined, _value: Array, _sketch: Sketch, facts: Facts) -> Certificate:
    bound = pooling_bound(combined)
    terms: Facts = {
        "score error of pooling": bound.eta,
        "total variation": bound.tv,
        "rounding": bound.rounding,
    }
    return Certificate(
        rows=bound.rows, target=SOFTMAX, theorem="ours.mean-pool", facts=facts | terms
    )


def _of_largest(combined: Combined, value: Array, _sketch: Sketch, facts: Facts) -> Certificate:
    return Certificate(
        rows=range_bound(value, combined.original),
        target=SOFTMAX,
        theorem="ours.value-range",
        facts=facts,
        unmet=(NO_THEOREM,),
    )


SKETCHES: dict[str, Kind] = {
    **{name: _random(name) for name in DRAWS},
    "row-sample": Kind(
        make=lambda problem, sketch, rng: row_sampled(problem, sketch.rank, rng),
        certificate=lambda combined, _value, sketch, facts: row_sample_certificate(
            combined, 1 - sketch.confidence, facts
        ),
        work=lambda _k, _n: 0.0,
    ),
    "mean-pool": Kind(
        make=lambda problem, sketch, _rng: mean_pooled(problem, sketch.rank),
        certificate=_of_means,
        gradient_bounds=pooling_gradient_bound,
        work=lambda _k, _n: 1.0,
        random=False,
    ),
    "max-pool": Kind(
        make=lambda problem, sketch, _rng: max_pooled(problem, sketch.rank),
        certificate=_of_largest,
        work=lambda _k, _n: 1.0,
        random=False,
    ),
}
"""The sketches by name."""
