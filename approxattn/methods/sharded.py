"""What a method must offer for attention over blocks of tokens, on one machine or many.

The keys pass in blocks. What a block of keys and values leaves behind is a *state*, whose size has
nothing to do with the number of tokens; states of different blocks merge, and a block of queries
needs the merged state and nothing else. Some methods choose their settings from all queries and
keys. For these, measures of each block come first, which are combined by their maximum.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, runtime_checkable

from approxattn._arrays import Array, HostArray
from approxattn.certificate import Approximation


class State(Protocol):
    """What is left of the keys and values of some blocks."""

    def merge(self, other: Any) -> Any:
        """Return the state of the keys of both."""
        ...


class Shards(Protocol):
    """One call of a method, block by block; small, and it pickles."""

    @property
    def measured(self) -> bool:
        """Whether the settings follow from measures of all queries and keys."""
        ...

    def begin(self, k: list[Array]) -> Any:
        """Return what the measures need to know, from some of the keys."""
        ...

    def measure_queries(self, q: Array) -> HostArray:
        """Return measures of queries, to be combined by their maximum."""
        ...

    def measure_keys(self, begun: Any, k: Array) -> HostArray:
        """Return measures of keys, to be combined by their maximum."""
        ...

    def settle(self, begun: Any, queries: HostArray | None, keys: HostArray | None) -> Any:
        """Return the settings of all blocks from the combined measures, None without them."""
        ...

    def fold(self, settings: Any, k: Array, v: Array) -> Any:
        """Return the state of keys and values, shapes (..., n, d), (..., n, dv)."""
        ...

    def query(self, settings: Any, state: Any, q: Array) -> Approximation:
        """Return the attention of queries over all keys of a state, in the dtype computed in."""
        ...

    def advance(
        self, settings: Any, before: Any, q: Array, k: Array, v: Array
    ) -> tuple[Approximation, Any]:
        """Return causal attention of the next tokens, and the state that has seen them too.

        `before` is the state of all earlier keys, None where there are none.
        """
        ...


@runtime_checkable
class Shardable(Protocol):
    """A method that can be taken in blocks."""

    why_not_causal: ClassVar[str]

    def shards(self, *, scale: float | None) -> Shards:
        """Return one call of it; ValueError where its settings have no such form."""
        ...
