"""Runs: neighbouring blocks of tokens that go through a step together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from approxattn._arrays import Array, Namespace


@dataclass(frozen=True)
class Run:
    """Neighbouring whole blocks: tokens first ... first + blocks * length - 1."""

    first: int
    blocks: int
    length: int

    @property
    def tokens(self) -> slice:
        """The tokens as a slice."""
        return slice(self.first, self.first + self.blocks * self.length)


def runs(n: int, length: int, together: int) -> list[Run]:
    """Return 0 ... n-1 as runs of at most `together` blocks; what is no whole block comes last."""
    whole = n // length
    found = [
        Run(first * length, min(together, whole - first), length)
        for first in range(0, whole, max(together, 1))
    ]
    rest = n - whole * length
    return [*found, Run(whole * length, 1, rest)] if rest else found


def blocks_of(x: Array, run: Run, xp: Namespace) -> Array:
    """Return the tokens of a run block by block, shape (n, c) -> (blocks, length, c)."""
    return xp.reshape(x[run.tokens, :], (run.blocks, run.length, x.shape[1]))


def flat_blocks(x: Array, xp: Namespace) -> Array:
    """Return blocks one behind the other, shape (blocks, length, c) -> (blocks length, c)."""
    return xp.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def each(runs_: list[Run], xp: Namespace, f: Callable[[Run], Array]) -> Array:
    """Return what f gives for every run, of which there is one, one behind the other."""
    parts = [f(run) for run in runs_]
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)
