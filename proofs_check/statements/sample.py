"""A claim about a probability or a mean, and the plan that tests it, fixed beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from proofs_check.statements.rules import check_covers, require
from proofs_check.statements.verdict import Covers

__all__ = ["Plan", "Sample"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A statistical plan, fixed before a single number is drawn.

    Parameters
    ----------
    n : int
        Number of draws; no peeking, no extension beyond what `Sample` says of the full budget.
    alpha : float
        Level of each of the two one-sided tests, before the campaign-wide correction (a few dozen
        experiments: 1e-4 is safe).
    margin : float
        Equivalence margin of a claim of equality; 0 for the one-sided claims.
    sampler : str
        What is drawn, in words: the distribution the verdict is about.
    blocks : int
        Number of block means behind a test of a mean.
    fixed : bool
        Whether the full budget keeps to n draws and one test, too, instead of taking more or
        stopping early.
    """

    n: int
    alpha: float = 1e-4
    margin: float = 0.0
    sampler: str
    blocks: int = 40
    fixed: bool = False

    def __post_init__(self) -> None:
        require(self.n >= 1, f"n(={self.n}) is below 1: draw something")
        require(0 < self.alpha < 0.5, f"alpha(={self.alpha}) is not in (0, 0.5): 1e-4 is usual")
        require(self.margin >= 0, f"margin(={self.margin}) is negative: 0 is none")
        require(self.sampler, "sampler(='') is empty: name the distribution")
        require(self.blocks >= 8, f"blocks(={self.blocks}) is below 8: 40 is usual")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A claim about a probability or a mean, tested by a plan fixed beforehand.

    Parameters
    ----------
    draw : callable
        ``draw(rng, m)`` returns m independent booleans (claims about a probability) or floats
        (claims about a mean).
    claim : {"probability <=", "probability >=", "mean <=", "mean >=", "mean ="}
        What is claimed of the drawn quantity. An equality holds up to ``plan.margin`` (two
        one-sided tests). A claim about a variance is stated as the mean of (X - mu)^2 with mu
        known, or of (X - X')^2 / 2.
    target : float
        The claimed value.
    plan : Plan
        Sample size, level and margin, fixed beforehand. The full budget grows the sample in batches
        of n/4 to at most 10 n. Its tests may be looked at after every batch, at a hundredth of the
        level. A mean without bounds is tested once, by 10 n draws and half the margin.
    bounds : (float, float) or None
        Interval that no draw leaves, for claims about a mean; target and margin lie strictly
        inside.
    chunk : int
        Largest m asked for at once, to bound memory. Part of the plan: it fixes the order of the
        draws.
    scope : str
        For which parameters the claim is sampled.
    covers : {"statement"}
        A search, a sample or a timing speaks of the statement; no step rests on one.
    """

    draw: Callable[[np.random.Generator, int], np.ndarray]
    claim: Literal["probability <=", "probability >=", "mean <=", "mean >=", "mean ="]
    target: float
    plan: Plan
    bounds: tuple[float, float] | None = None
    chunk: int = 4096
    scope: str
    covers: Covers

    def __post_init__(self) -> None:
        check_covers(self.covers, can_prove=False)
        claims = ("probability <=", "probability >=", "mean <=", "mean >=", "mean =")
        require(
            self.claim in claims, f"claim(={self.claim!r}) is none of {claims}: pass one of them"
        )
        if self.claim.startswith("probability"):
            rule = f"target(={self.target}) is not in (0, 1): no other probability can be tested"
            require(0 < self.target < 1, rule)
        else:
            fewest = 2 * self.plan.blocks
            rule = f"n(={self.plan.n}) is below twice the blocks: draw at least {fewest}"
            require(self.plan.n >= fewest, rule)
        if self.claim == "mean =":
            rule = "margin(=0) cannot support an equality: state how close is equal"
            require(self.plan.margin > 0, rule)
        else:
            rule = f"margin(={self.plan.margin}) has no meaning for {self.claim!r}: leave it out"
            require(self.plan.margin == 0, rule)
        rule = f"target(={self.target}) is not finite: claim a number"
        require(np.isfinite(self.target), rule)
        if self.bounds is not None:
            rule = f"bounds(={self.bounds}) have no meaning for {self.claim!r}: leave them out"
            require(self.claim.startswith("mean"), rule)
            low, high = self.target - self.plan.margin, self.target + self.plan.margin
            rule = (
                f"bounds(={self.bounds}) do not contain target and margin, [{low}, {high}], "
                "strictly: widen them, or test without"
            )
            require(self.bounds[0] < low <= high < self.bounds[1], rule)
        require(self.chunk >= 1, f"chunk(={self.chunk}) is below 1: 4096 is usual")
        require(self.scope, "scope(='') is empty: say for which parameters the claim is sampled")
