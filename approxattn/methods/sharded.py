"""What a method must offer for attention over blocks of tokens, on one machine or many.

A call is a row of *passes* over the blocks, and then its *answers*. A pass leaves something behind
of each block, whose size has nothing to do with the number of tokens: sums, largest entries. What
blocks leave behind is merged by a fixed tree, and later passes know the result. An answer is a part
of the result that belongs to the tokens of one block: rows of the output, or of a gradient.

Under a causal mask the last pass is a *scan*: a block knows what the blocks before it left behind.
Gradients scan twice, keys forwards and queries backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from approxattn._arrays import Array
from approxattn.certificate import Approximation

Known = Mapping[str, Any]
"""What passes have left behind, by their names."""

Answers = Mapping[str, Approximation]
"""Parts of a result by their names: "value"; "dq"; "dk" and "dv"."""


class Call(NamedTuple):
    """What a method is told of a call before it sees a number.

    `queries` and `keys` are numbers of tokens, `d` and `dv` widths, `dtype` is that computed in,
    `scale` as in `attention`, and `seed` what random draws follow from.
    """

    queries: int
    keys: int
    d: int
    dv: int
    dtype: str
    scale: float | None = None
    causal: bool = False
    seed: int | None = None


class State(Protocol):
    """What some blocks have left behind."""

    def merge(self, other: Any) -> Any:
        """Return what both have left behind; `other` stands for later tokens."""
        ...


class Tokens(Protocol):
    """All tokens of the other side, piece by piece, for methods without a state of fixed size."""

    def pieces(self, stop: int | None = None) -> Iterator[tuple[int, Sequence[Array]]]:
        """Yield the number of the first token of each piece and its arrays, up to token `stop`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass over all blocks.

    Parameters
    ----------
    name : str
        What `Known` calls its result.
    takes : tuple of str
        Which of q, k, v, dout it reads.
    fold : callable
        From what is known, the number of the first token and these arrays, to a `State`.
    settle : callable, optional
        From what is known and the merged state to what is known afterwards; by default the state.
    across : tuple of str
        Arrays of the other side, all of which are handed over as `Tokens`.
    sampled : bool
        Whether it reads the first tokens of some blocks only.
    long : bool
        Whether it is worth a word about progress.
    """

    name: str
    takes: tuple[str, ...]
    fold: Callable[..., State]
    settle: Callable[[Known, Any], Any] | None = None
    across: tuple[str, ...] = ()
    sampled: bool = False
    long: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A part of the result that belongs to the tokens of each block.

    Parameters
    ----------
    name : str
        Of its tasks.
    takes, across
        As of a `Pass`.
    give : callable
        From what is known, the number of the first token and these arrays, to `Answers`.
    multiple : int
        Tokens that it takes together: their blocks, and the pieces of these, begin at multiples.
    """

    name: str
    takes: tuple[str, ...]
    give: Callable[..., Answers]
    across: tuple[str, ...] = ()
    multiple: int = 1


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The answers under a causal mask.

    Parameters
    ----------
    fold : callable
        From what is known, the number of the first token, k and v, to a `State`.
    advance : callable
        From what is known, the state of all earlier tokens (None where there are none), the number
        of the first token and q, k, v, to `Answers` and the state that has seen these tokens too.
    """

    fold: Callable[..., State]
    advance: Callable[..., tuple[Answers, Any]]


@dataclass(frozen=True, kw_only=True)
class BothScans:
    """The answers of a gradient under a causal mask: earlier keys matter to a query, later queries
    to a key.

    Parameters
    ----------
    fold : callable
        As of a `Scan`.
    back : callable
        From what is known, the state of all earlier tokens, the number of the first token and q, k,
        v, dout, to what these queries leave behind for earlier keys, a `State`, and the state that
        has seen these tokens too.
    give : callable
        From what is known, the state of all earlier tokens, what all later queries left behind
        (both None where there are none), what these queries did, the number of the first token and
        q, k, v, dout, to `Answers`.
    """

    fold: Callable[..., State]
    back: Callable[..., tuple[State, Any]]
    give: Callable[..., Answers]


class Shards(Protocol):
    """One call of a method, block by block; small, and it pickles."""

    @property
    def passes(self) -> tuple[Pass, ...]:
        """What comes before the answers."""
        ...

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The answers, unless `scan` gives them."""
        ...

    @property
    def scan(self) -> Scan | BothScans | None:
        """The causal answers of a method whose states merge."""
        ...


@runtime_checkable
class Shardable(Protocol):
    """A method that can be taken in blocks."""

    def shards(self, call: Call) -> Shards:
        """Return one call of it; ValueError where its settings have no such form."""
        ...


@runtime_checkable
class GradientShardable(Protocol):
    """A method whose gradient can be taken in blocks."""

    def gradient_shards(self, call: Call) -> Shards:
        """Return one call of its gradient; ValueError where its settings have no such form."""
        ...
