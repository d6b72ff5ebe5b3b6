"""A test case, and the hypotheses that it has to satisfy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from proofs_check.statements import named
from proofs_check.statements.rules import require

__all__ = ["Assumption", "Instance"]

Instance: TypeAlias = Mapping[str, Any]
"""A test case: named numbers and arrays, all of types that `proofs_check.statements.serial` can
write down.
"""


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """A hypothesis of a theorem: its text, its predicate and its generator, from one place so that
    they cannot drift.

    Parameters
    ----------
    text : str
        The hypothesis in words.
    predicate : callable or None
        ``predicate(instance) -> bool``, a module-level function, or a `functools.partial` of one,
        that decides exactly on exact instances. None for a hypothesis that no instance can
        violate, one that is built into the generator, such as a distribution.
    generator : callable or None
        ``generator()`` returns a Hypothesis strategy whose values satisfy the predicate.
    """

    text: str
    predicate: Callable[[Instance], bool] | None = None
    generator: Callable[[], Any] | None = None

    def __post_init__(self) -> None:
        require(self.text, "text(='') is empty: say the hypothesis in words")
        if self.predicate is not None:
            named.written(self.predicate, "predicate")
