"""The error of a method on blocks of rows of one head, drawn once for all methods."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from approxattn import _arrays
from approxattn._arrays import HostArray
from approxattn._problem import Problem
from approxattn._problem.progress import Work
from approxattn._problem.time_needed import exact_seconds
from approxattn.bounds.rounding import up
from approxattn.planning.candidates import run
from approxattn.softmax.rows import Item, items

CHOOSING = 1 / 4
"""Share of the blocks drawn that chooses; the others decide. *Chosen*: what decides carries the
statement.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Errors:
    """What a method does on the blocks drawn from one head on one text.

    Attributes
    ----------
    blocks : ndarray, shape (drawn,)
        Upper bounds on their relative errors: first those that choose, then those that decide.
    gaps, norms : ndarray, shapes (drawn,)
        Frobenius norms of error and exact output.
    seconds : float
        Time of the whole head.
    """

    blocks: HostArray
    gaps: HostArray
    norms: HostArray
    seconds: float

    def relative(self, blocks: slice = slice(None)) -> float:
        """Return the relative Frobenius error over some of the blocks together."""
        gap, norm = (float(np.linalg.norm(x[blocks])) for x in (self.gaps, self.norms))
        if math.isnan(gap):
            return math.inf
        return gap / norm if norm else (math.inf if gap else 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """One head on one text, with blocks of its rows.

    Attributes
    ----------
    problem : Problem
        The head.
    size : int
        Rows of a block; the last one may have fewer.
    wanted : int
        Blocks to draw, at most.
    seed : int
        Draws follow from it.
    """

    problem: Problem
    size: int
    wanted: int
    seed: int
    _kept: dict[str, Errors] = field(default_factory=dict)

    @property
    def population(self) -> int:
        """Number N of blocks."""
        return -(-self.problem.n_q // self.size)

    @property
    def complete(self) -> bool:
        """Whether all blocks are drawn; then all of them choose and decide."""
        return self.wanted >= self.population

    @property
    def choosing(self) -> int:
        """Number a of blocks that choose."""
        if self.complete:
            return self.population
        return max(1, round(CHOOSING * self.wanted))

    @cached_property
    def numbers(self) -> HostArray:
        """Numbers of the blocks drawn, in the order drawn."""
        if self.complete:
            return np.arange(self.population)
        rng = np.random.default_rng(self.seed)
        return np.asarray(rng.permutation(self.population)[: self.wanted])

    @cached_property
    def _exact(self) -> tuple[Item, HostArray, HostArray, HostArray]:
        """Rows of the blocks, block by block in increasing order, their exact outputs and rounding,
        and the place of each row's block in `numbers`.
        """
        order = np.argsort(self.numbers)
        lasts = np.minimum((self.numbers + 1) * self.size, self.problem.n_q)
        rows = [np.arange(self.numbers[i] * self.size, lasts[i]) for i in order]
        place = np.repeat(order, [len(r) for r in rows])
        (item,) = items(self.problem, np.concatenate(rows))
        count = item.rows.size
        work = Work(f"exact rows, {count}", exact_seconds(self.problem, count), count)
        output = _arrays.to_float64(item.recompute(work).output)
        work.finish()
        return item, output, item.rounding(), place

    def errors(self, name: str, method: Any) -> Errors:
        """Return the errors of a method, computed once."""
        if name not in self._kept:
            self._kept[name] = self._errors(method)
        return self._kept[name]

    def _errors(self, method: Any) -> Errors:
        count = len(self.numbers)
        if not count or not self.problem.dv:
            return Errors(
                blocks=np.zeros(count), gaps=np.zeros(count), norms=np.zeros(count), seconds=0.0
            )
        item, exact, rounding, place = self._exact
        try:
            value, seconds = run(method, self.problem, np.random.default_rng(self.seed))
        except (ValueError, MemoryError):
            lost = np.full(count, math.inf)
            return Errors(blocks=lost, gaps=lost, norms=np.ones(count), seconds=math.inf)
        difference = _arrays.to_float64(item.take(value)) - exact

        def norms(x: HostArray) -> HostArray:
            return np.sqrt(np.bincount(place, np.sum(x * x, axis=-1), minlength=count))

        gaps, sizes = norms(difference), norms(exact)
        slack = math.sqrt(self.problem.dv) * norms(rounding[:, None])
        return Errors(blocks=_bounds(gaps, sizes, slack), gaps=gaps, norms=sizes, seconds=seconds)


def drawn_before(kept: dict[int, Drawn], head: int, fresh: Drawn) -> Drawn:
    """Return what is kept of a head, with what was found before; `fresh` if there is none.

    Raises
    ------
    ValueError
        If what is kept is of another head, or of other blocks.
    """
    found = kept.setdefault(head, fresh)
    if found is fresh:
        return fresh
    mine, others = (_marks(own) for own in (found, fresh))
    if not all(a is b or np.array_equal(a, b) for a, b in zip(mine, others, strict=True)):
        msg = f"measured holds another text at head {head}, or other blocks or masks: give each "
        raise ValueError(msg + "text a dict of its own, and empty ones where these change")
    return found


def _marks(drawn: Drawn) -> list[Any]:
    """Return what tells one head, its masks and its blocks from others."""
    problem = drawn.problem
    arrays = [_arrays.to_host(getattr(problem, name)) for name in "qkv"]
    mask = None if problem.key_mask is None else _arrays.to_host(problem.key_mask)
    plain = [drawn.size, drawn.wanted, problem.scale, problem.causal]
    return [*arrays, mask, *plain, *(problem.limits or (None, None))]


def _bounds(gaps: HostArray, norms: HostArray, slack: HostArray) -> HostArray:
    """Return upper bounds on relative errors, from norms that are known up to `slack`."""
    least = norms - slack
    with np.errstate(all="ignore"):
        found = up((gaps + slack) / least * (1 + 2.0**-40))
    found = np.where((least > 0) & ~np.isnan(found), found, np.inf)
    return np.where((gaps == 0) & (norms == 0), 0.0, found)
