"""The graph of one sharded call: passes, merges in a fixed order, answers.

A graph is a dict from keys to tasks, a task a tuple of a function and its arguments, in which
`Ref(key)` stands for the result of another task: a Dask graph without Dask.

Order of merges. States of neighbouring blocks are merged in pairs, these in pairs again, and so
on: a tree that depends on the number of blocks alone. Who computes what, and when, changes no bit.
Under a causal mask block i needs the state of blocks 0 ... i - 1. What lies before the left half of
a node lies before the node, and before the right half lies the left one too: going down the tree
that gives all of them by one more merge a node, in twice the depth (Blelloch 1990; wording
unverified).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from approxattn.methods.sharded import Answer, BothScans, Pass, Scan, Shards
from approxattn.sharding import tasks

Graph = dict[Any, tuple[Any, ...]]
Span = tuple[int, int]
Blocks = Mapping[str, Sequence[Any]]

OF_QUERIES = ("q", "dout")
"""Arrays with as many tokens as there are queries; the others have those of the keys."""

SAMPLED_BLOCKS, SAMPLED_KEYS = 16, 2**14
"""Blocks whose first keys the centre is found from, and how many keys in all. *Chosen*: the mean of
so many is within a hundredth of the spread of the keys of the mean of all.
"""


@dataclass(frozen=True)
class Ref:
    """The result of another task."""

    key: Any


def spans(n: int, length: int) -> list[Span]:
    """Return 0..n-1 in runs of `length`, the last one shorter."""
    return [(first, min(n, first + length)) for first in range(0, n, length)]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the tokens are.

    Parameters
    ----------
    shards : Shards
        The call.
    blocks : mapping of str to sequence
        What stands for each block of q, k, v and, for a gradient, dout, in the arguments of a task:
        an array, something with `read`, or a `Ref`.
    queries, keys : sequence of (int, int)
        First and last of the tokens of each block.
    again : sequence of mapping
        What stands for the blocks in the passes, one after the other, and in the answers, where
        it differs.
    """

    shards: Shards
    blocks: Blocks
    queries: Sequence[Span]
    keys: Sequence[Span]
    again: Sequence[Blocks] = ()

    def in_pass(self, number: int) -> Blocks:
        """Return what stands for the blocks in a pass."""
        return self.again[number] if self.again else self.blocks

    def firsts(self, name: str) -> list[int]:
        """Return the first token of each block of an array."""
        return [first for first, _ in (self.queries if name in OF_QUERIES else self.keys)]


def answers(
    layout: Layout, graph: Graph, finish: Callable[[str, int], tuple[Any, ...]]
) -> dict[str, list[Ref]]:
    """Add everything up to the answers; return these by their names, one for each block.

    `finish(name, i)` is a function that takes the pieces of answer `name` of block i, and its
    arguments after those.
    """
    shards = layout.shards
    known = _add(graph, "known", dict)
    for number, one in enumerate(shards.passes):
        known = _passed(layout, graph, number, one, known)
    blocks = layout.in_pass(len(shards.passes))
    if shards.scan is not None:
        name = "out" if isinstance(shards.scan, Scan) else "dqkv"
        return {name: _scanned_answers(layout, graph, known, lambda i: finish(name, i))}
    found: dict[str, list[Ref]] = {}
    for part in shards.answers:
        _check_multiple(part, layout.firsts(part.takes[0]))
        found[part.name] = []
        whole = [block for name in part.across for block in blocks[name]]
        for i, first in enumerate(layout.firsts(part.takes[0])):
            own, (function, *rest) = [blocks[n][i] for n in part.takes], finish(part.name, i)
            task = tasks.answer, part, known, first, function, tuple(rest), *own, *whole
            found[part.name].append(_add(graph, f"{part.name}-{i}", *task))
    return found


def _check_multiple(part: Answer, firsts: list[int]) -> None:
    bad = [first for first in firsts if first % part.multiple]
    if bad:
        msg = (
            f"{part.takes[0]} is cut at token {bad[0]}, but the method takes {part.multiple} "
            "tokens together: let blocks of tokens (shard=, or chunks) be multiples of "
            f"{part.multiple}"
        )
        raise ValueError(msg)


def _passed(layout: Layout, graph: Graph, number: int, one: Pass, known: Ref) -> Ref:
    """Add one pass; return what is known after it."""
    blocks = layout.in_pass(number)
    if one.sampled:
        every = blocks[one.takes[0]]
        some = every[:: -(-len(every) // SAMPLED_BLOCKS)]
        most = -(-SAMPLED_KEYS // len(some))
        left = [
            _add(graph, f"{one.name}-{i}", tasks.head, one, known, most, x)
            for i, x in enumerate(some)
        ]
    else:
        start = "fold-" if one.long else ""
        whole = [block for name in one.across for block in blocks[name]]
        left = []
        for i, first in enumerate(layout.firsts(one.takes[0])):
            task = tasks.fold, one, known, first, *(blocks[n][i] for n in one.takes), *whole
            left.append(_add(graph, f"{start}{one.name}-{i}", *task))
    root = reduced(graph, f"{one.name}+", tasks.merge, left)
    return _add(graph, f"known-{one.name}", tasks.know, one, known, root)


def _scanned_answers(
    layout: Layout, graph: Graph, known: Ref, finish: Callable[[int], tuple[Any, ...]]
) -> list[Ref]:
    scan, count = layout.shards.scan, len(layout.shards.passes)
    assert scan is not None  # noqa: S101 - the caller has looked
    folds, own = layout.in_pass(count), layout.in_pass(count + 1)
    states, found = [], []
    for i, (first, _) in enumerate(layout.keys):
        task = tasks.fold_scanned, scan, known, first, folds["k"][i], folds["v"][i]
        states.append(_add(graph, f"fold-{i}", *task))
    before = scanned(graph, "state", states)
    if isinstance(scan, BothScans):
        return _scanned_back(layout, graph, scan, known, before, finish)
    for i, (first, _) in enumerate(layout.queries):
        function, *rest = finish(i)
        arguments = known, before[i], first, function, tuple(rest)
        task = tasks.advance, scan, *arguments, *(own[n][i] for n in ("q", "k", "v"))
        found.append(_add(graph, f"out-{i}", *task))
    return found


def _scanned_back(
    layout: Layout,
    graph: Graph,
    scan: BothScans,
    known: Ref,
    before: list[Ref | None],
    finish: Callable[[int], tuple[Any, ...]],
) -> list[Ref]:
    """Add the scan of the queries, from the last block to the first, and the answers."""
    count, left, found = len(layout.shards.passes), [], []

    def tokens(i: int, number: int) -> list[Any]:
        return [layout.in_pass(number)[name][i] for name in ("q", "k", "v", "dout")]

    for i, (first, _) in enumerate(layout.queries):
        task = tasks.fold_back, scan, known, before[i], first, *tokens(i, count + 1)
        left.append(_add(graph, f"fold-back-{i}", *task))
    after = scanned(graph, "back", left[::-1])[::-1]
    for i, (first, _) in enumerate(layout.queries):
        function, *rest = finish(i)
        arguments = known, before[i], after[i], first, function, tuple(rest)
        found.append(_add(graph, f"dqkv-{i}", tasks.give, scan, *arguments, *tokens(i, count + 2)))
    return found


def passes_of(shards: Shards) -> int:
    """Return how often blocks are read: in the passes, for a scan, for the answers."""
    of_scans = {None: 1, Scan: 2, BothScans: 3}
    return len(shards.passes) + of_scans[None if shards.scan is None else type(shards.scan)]


def reduced(graph: Graph, name: str, merge: Callable[..., Any], refs: list[Ref]) -> Ref:
    """Merge results by the fixed tree and return its root."""
    return _tree(graph, name, merge, refs)[-1][0]


def scanned(graph: Graph, name: str, refs: list[Ref]) -> list[Ref | None]:
    """Return for each result the merged ones before it; None before the first."""
    levels = _tree(graph, name, tasks.merge, refs)
    before: list[Ref | None] = [None]
    for level in range(len(levels) - 2, -1, -1):
        below, found = levels[level], []
        for i in range(len(below)):
            above = before[i // 2]
            if i % 2 and above is not None:
                key = f"{name}-before-{level}-{i}"
                above = _add(graph, key, tasks.merge, above, below[i - 1])
            elif i % 2:
                above = below[i - 1]
            found.append(above)
        before = found
    return before


def _tree(graph: Graph, name: str, merge: Callable[..., Any], refs: list[Ref]) -> list[list[Ref]]:
    """Return the levels of the tree, leaves first; a node without a neighbour rises as it is."""
    levels = [refs]
    while len(levels[-1]) > 1:
        below, above = levels[-1], []
        for i in range(0, len(below), 2):
            pair = below[i : i + 2]
            key = f"{name}-{len(levels)}-{i // 2}"
            above.append(_add(graph, key, merge, *pair) if len(pair) == 2 else pair[0])
        levels.append(above)
    return levels


def _add(graph: Graph, key: str, *task: Any) -> Ref:
    graph[key] = task
    return Ref(key)


def needed(graph: Graph, wanted: Sequence[Ref]) -> Graph:
    """Return what is needed for some results, in an order in which it can be computed, and which
    keeps few results at a time.
    """
    found: Graph = {}
    stack = [ref.key for ref in reversed(wanted)]
    while stack:
        key = stack[-1]
        # what is not in the graph is somebody else's
        missing = [r.key for r in refs_of(graph[key]) if r.key in graph and r.key not in found]
        if key in found or not missing:
            found.setdefault(key, graph[key])
            stack.pop()
        else:
            stack += reversed(missing)
    return found


def refs_of(task: tuple[Any, ...]) -> list[Ref]:
    """Return what a task refers to."""
    return [argument for argument in task[1:] if isinstance(argument, Ref)]


def filled(task: tuple[Any, ...], results: Mapping[Any, Any]) -> tuple[Any, ...]:
    """Return a task with results in the place of what it refers to."""
    return tuple(results[x.key] if isinstance(x, Ref) else x for x in task)
